"""TOMPEI-CMMD: outlines and corrections for the Chinese Mammography Database."""
