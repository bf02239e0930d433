"""CBIS-DDSM: digitised film mammograms with a mask for each abnormality (Lee et al. 2017)."""
