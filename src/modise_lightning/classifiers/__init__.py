"""Query states and masks to class logits."""
