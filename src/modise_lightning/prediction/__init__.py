"""Predictions of trained models and of baselines, for images and for whole folds."""
