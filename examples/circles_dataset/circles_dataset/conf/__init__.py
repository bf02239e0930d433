"""Configurations that Hydra finds with hydra.searchpath."""
