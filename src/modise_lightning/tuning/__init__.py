"""Chooses the settings of inference on validation images, and measures what they are worth on test images."""
