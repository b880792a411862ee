"""How well embeddings find people, and what else can be read from them."""
