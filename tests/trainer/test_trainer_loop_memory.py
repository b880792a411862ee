"""Freed memory stays with a training process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytest.importorskip("torch")

FAULTS = """
import resource, sys
import torch
from crosscam_trainer.loop.devices import launch
from crosscam_trainer.recipe import LoopRecipe

if sys.argv[1] == "launched":
    launch(LoopRecipe(device="cpu", workers=0))

def step():
    held = [torch.full((12 * 2**20,), 1.0) for _ in range(3)]  # 48 MiB each: more than glibc keeps

for _ in range(8):  # until the heap has its size
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_pages_are_fetched_once() -> None:
    assert faults("launched") < 200 < faults("as it is")
