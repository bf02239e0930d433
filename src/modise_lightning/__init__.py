"""M-ODISE: panoptic segmentation of breast lesions in mammograms."""

__version__ = "0.1.0"  # the one place: the package's metadata takes it from here
