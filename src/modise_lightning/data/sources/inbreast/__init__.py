"""INbreast: full-field digital mammograms with outlined findings (Moreira et al. 2012)."""
