"""Operators on tensors run on torch's threads, as many as it uses; forked children on others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import (  # noqa: E402
    _native,
    camera_adversarial_loss,
    camera_classifier_loss,
    crop_resize_normalize,
    retrieval_metrics,
    similarity_topk,
)

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


ROWS = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
FRAME = torch.zeros(32, 32, 3, dtype=torch.uint8)
BOX = torch.tensor([[0.0, 0.0, 16.0, 16.0]])

CALLS = {
    "camera_adversarial": lambda: camera_adversarial_loss(ROWS, ROWS[:3], LABELS, LABELS[:3]),
    "camera_classifier_gradient": lambda: camera_classifier_loss(
        ROWS, ROWS[:3].clone().requires_grad_(), LABELS
    ).backward(),
    "similarity_topk": lambda: similarity_topk(ROWS, ROWS, 2),
    "crop_resize_normalize": lambda: crop_resize_normalize(FRAME, BOX, size=(8, 8)),
    "retrieval_ranks": lambda: retrieval_metrics(ROWS, ROWS, LABELS, LABELS, LABELS, LABELS + 1),
}


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("name", CALLS)
def test_as_many_threads_as_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    real = getattr(_native, name)

    def spy(*args, **options):
        given.append(options["threads"])
        return real(*args, **options)

    monkeypatch.setattr(_native, name, spy)
    CALLS[name]()
    assert set(given) == {3}
