"""Matching of queries with the ground truth, and the losses of matched queries."""
