"""The operators as `torch.library` custom ops in the namespace ``crosscam``; needs torch."""

import torch  # noqa: F401  its OpenMP runtime is loaded before it is looked for

from crosscam_kernels import _native

# Threads of torch spin after each of its operators and would hold the processors of ours.
_native.share_openmp_threads()
