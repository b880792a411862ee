"""Where results go: files, and for live runs also brokers and web hooks."""
