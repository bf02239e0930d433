"""A trained model in one file that a stranger may have written: what it holds, and how it is read."""
