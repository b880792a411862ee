"""Verified model bundles, the model zoo and the runtimes that execute them."""
