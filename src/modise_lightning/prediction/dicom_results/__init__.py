"""Predictions as DICOM objects, which viewers and archives take: Segmentation and Structured Report."""
