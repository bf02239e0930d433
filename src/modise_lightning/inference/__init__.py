"""From classified mask logits to panoptic, instance and semantic results."""
