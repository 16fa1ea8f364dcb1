"""One file per phase: from a snapshot to what this phase needs next."""
