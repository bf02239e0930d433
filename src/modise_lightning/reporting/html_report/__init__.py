"""The HTML report of an evaluation: one file with its tables, its curves and a gallery of its images."""
