"""What predictions are measured with.

Its rooms build on each other: segments, accumulated, records, curves, patients, clinical.
"""
