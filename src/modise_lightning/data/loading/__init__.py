"""Batches of a prepared dataset. Knows no source."""
