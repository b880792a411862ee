"""The training loop: devices, precision, steps, checkpoints, logs."""
