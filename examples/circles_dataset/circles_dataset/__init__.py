"""Images with circles around lesions in a CSV file: a dataset that is chosen by its configuration."""
