"""How much memory this process holds, and held at most."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_bytes() -> int:
    """Return the most physical memory that the process held since `forget_peak`."""
    # On Linux, ru_maxrss of a process also counts what its parent held before it was started.
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> bool:
    """Count the most memory from now on; returns whether the system can."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
        return True
    return False


def be_the_first_to_go() -> None:
    """Ask the system to end this process before others when memory runs out."""
    with contextlib.suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
