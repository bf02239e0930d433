"""Gives mutated files of every kind to the readers: ``python -m fuzzing --seconds 60 --seed 1``."""
