"""What goes to Weights & Biases."""
