"""Side effects, one file each: small, idempotent, guarded by a precondition."""
