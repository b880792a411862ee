"""Triton kernels on the CPU: they run only in a process that started with TRITON_INTERPRET=1.

The variable must be set before a kernel is decorated, and breaks fake tensors and torch.compile,
hence a process of their own (`make test-torch`).
"""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
