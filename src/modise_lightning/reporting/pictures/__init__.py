"""Predictions and ground truth drawn on images."""
