"""What goes into a package beside the weights: the evaluation of its runs, and a card for people."""
