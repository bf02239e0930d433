"""What happens beside the training steps: evaluation, pictures, progress, and guards."""
