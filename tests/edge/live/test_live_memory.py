from __future__ import annotations

import platform
import re
from pathlib import Path

import numpy as np
import pytest

from crosscam_edge.live.memory import give_back


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_what_is_free_between_what_is_kept_is_given_back() -> None:
    kept, freed = [], []
    for _ in range(4000):  # too small to be mapped one by one
        freed.append(np.ones(4096))
        kept.append(np.ones(64))
    before = resident_mib()
    freed.clear()
    give_back()
    assert resident_mib() < before - 80
    assert sum(each.sum() for each in kept) == 64 * 4000
