"""Pure decisions: from a frozen snapshot to a situation to a plan. No I/O, clock or randomness in here."""
