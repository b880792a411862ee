"""Training and evaluation of ReID models. Its dependencies come with the `train` extra."""
