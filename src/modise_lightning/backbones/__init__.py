"""Images to a feature pyramid: diffusion models and Swin."""
