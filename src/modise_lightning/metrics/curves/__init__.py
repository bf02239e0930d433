"""Curves over the score of recorded lesions: FROC, precision and recall, calibration."""
