"""Where results go: files now, brokers and web hooks later."""
