"""Published weights: where they are, and CLIPs built from them."""
