"""What is kept of each evaluated image, as tables."""
