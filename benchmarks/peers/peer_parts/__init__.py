"""What the comparison with other libraries is made of; ``run.py`` and ``table.py`` put it together."""
