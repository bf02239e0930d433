"""Numbers that can be drawn again by patient, and their intervals and tests."""
