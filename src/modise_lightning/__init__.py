"""M-ODISE: panoptic segmentation of breast lesions in mammograms."""
