"""Hydra and its configurations: composed, checked, stored in checkpoints, and built into parts."""
