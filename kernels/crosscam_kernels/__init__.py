"""Fused similarity, mining and image operators, usable on their own."""
