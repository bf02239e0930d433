"""What every source needs to make a prepared dataset. Knows no source."""
