"""Everything of a training but its data and the network: the Lightning module, optimizer, checkpoints."""
