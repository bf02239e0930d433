"""Any dataset in the COCO panoptic layout."""
