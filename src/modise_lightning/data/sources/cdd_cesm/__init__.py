"""CDD-CESM: contrast-enhanced mammograms with outlines (Khaled et al. 2022)."""
