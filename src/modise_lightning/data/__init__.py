"""From raw downloads to prepared datasets, and from those to batches."""
