"""Synthetic mammograms with lesions of known outline, for trying everything without real patients."""
