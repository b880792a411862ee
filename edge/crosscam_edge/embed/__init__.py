"""From crops of people to embeddings."""
