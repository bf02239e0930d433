"""Figures of a cross-validation for publications: one file a figure, each gives a matplotlib figure."""
