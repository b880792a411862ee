"""The operators as `torch.library` custom ops in the namespace ``crosscam``; needs torch."""
