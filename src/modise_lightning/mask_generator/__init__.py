"""Feature pyramid to masks and query states."""
