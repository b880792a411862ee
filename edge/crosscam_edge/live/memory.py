"""Gives memory that was freed back to the system.

A review takes tens of megabytes for a second. glibc keeps most of what is freed, in a heap for each
thread, where whatever came meanwhile lies between: with every larger review a live run would hold
more. A thread that has done such work asks for it to be handed back.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def give_back() -> bool:
    """Hand back what is free in all heaps; takes some milliseconds, in which others may run.

    Returns:
        Whether there was something; False too where the C library cannot (it is not glibc).
    """
    trim = _trim()
    return trim is not None and bool(trim(0))


@cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return None
    return trim
