"""Cameras in, people with one identity across all of them out."""
