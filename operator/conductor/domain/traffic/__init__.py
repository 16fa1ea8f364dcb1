"""How users are led to a release's revisions: one interface (`provider`), and what keeps it (`services`, ...)."""
