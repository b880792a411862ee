"""Operators on tensors run on torch's own threads, and in forked children on others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

PROGRAM = """
import os, sys, torch
from crosscam_kernels import memory_infonce

torch.set_num_threads(4)
bank = torch.nn.functional.normalize(torch.randn(2048, 256), dim=1)
samples, targets = bank[:256] + 0.1, torch.arange(256)


def threads():
    return len(os.listdir("/proc/self/task"))


(bank @ bank.T).relu_().sum()  # torch's threads exist from here on
before = threads()
wanted = memory_infonce(samples, bank, targets)
assert threads() == before, (threads(), before)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(memory_infonce(samples, bank, targets), wanted) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
def test_a_forked_child_computes_after_its_parent_did() -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        timeout=100,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
