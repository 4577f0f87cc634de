"""Use cases: one function, one decision, one transaction."""
