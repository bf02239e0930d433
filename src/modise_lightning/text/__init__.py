"""Category names to text embeddings."""
