"""The parts of the GPU benchmark, each a module whose ``measure`` runs in a process of its own."""
