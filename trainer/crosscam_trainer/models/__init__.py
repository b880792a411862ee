"""Image and text towers, prompts and heads."""
