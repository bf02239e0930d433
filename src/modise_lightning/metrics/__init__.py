"""What predictions are measured with: panoptic quality, average precision and Dice."""
