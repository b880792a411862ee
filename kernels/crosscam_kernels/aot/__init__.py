"""Ahead-of-time compilation of the Triton kernels to PTX and cubins, one per GPU architecture.

Needs Triton but neither a GPU nor a driver. On the command line:
``python -m crosscam_kernels.aot``. Importing this package loads neither torch nor Triton.
"""

from __future__ import annotations

from crosscam_kernels.aot.architectures import ARCHITECTURES, Architecture
from crosscam_kernels.aot.build import compile_kernels
from crosscam_kernels.aot.manifest import Manifest, read_manifest
from crosscam_kernels.aot.spec import KernelSpec

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "KernelSpec",
    "Manifest",
    "compile_kernels",
    "read_manifest",
]
