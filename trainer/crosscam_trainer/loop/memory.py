"""Memory that a step frees stays with the process, for the next step.

glibc hands large blocks back to the system as soon as they are free and asks for them again a
moment later; the system clears each of their pages anew. A training step allocates the same blocks
as the step before it, so a part of the processor's time goes into clearing what is overwritten at
once (figures: docs/adr/0015).
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_MOST = 2**31 - 1
"""`mallopt` takes an int."""


@cache
def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, for the rest of the process; returns whether it does.

    What the process holds is then the most that it has ever used. Nothing is done without glibc,
    nor to the memory of CUDA devices, which torch keeps by itself.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, _MOST) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
