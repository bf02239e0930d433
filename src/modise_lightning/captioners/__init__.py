"""Images to the conditioning of a diffusion model."""
