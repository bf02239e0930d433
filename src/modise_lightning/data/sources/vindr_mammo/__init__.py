"""VinDr-Mammo: full-field mammograms with boxes (Nguyen et al. 2023)."""
