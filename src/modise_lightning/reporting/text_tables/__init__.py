"""Tables of one run for terminals and logs."""
