"""Image files and DICOM to arrays, and the breast in them. Knows nothing of datasets."""
