"""A candidate's process: what it says when it dies, hangs, or prints."""

from __future__ import annotations

import os
import signal
import time

import pytest

from crosscam_deploy.verify import Candidate
from crosscam_deploy.verify.worker import UnusableError, Worker


@pytest.fixture
def worker(tiny, tmp_path):
    made = Worker(Candidate(bundle=tiny.path), tmp_path / "errors.log", 60.0)
    yield made
    made.close()


def opened(worker: Worker) -> None:
    worker.ask("open", candidate=worker.candidate.model_dump(mode="json"))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_dies_says_how(worker, tiny, tmp_path):
    opened(worker)
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(UnusableError, match="crashed with SIGSEGV"):
        worker.ask("held")
    with pytest.raises(UnusableError, match="crashed with SIGSEGV"):
        worker.ask("held")
    other = Worker(Candidate(bundle=tiny.path), tmp_path / "other.log", 60.0)
    os.kill(other.pid, signal.SIGKILL)
    with pytest.raises(UnusableError, match="memory ran out"):
        opened(other)
    other.close()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_hangs_is_ended(tiny, tmp_path):
    worker = Worker(Candidate(bundle=tiny.path), tmp_path / "errors.log", 60.0)
    opened(worker)
    os.kill(worker.pid, signal.SIGSTOP)
    worker._limit = 0.3
    with pytest.raises(UnusableError, match=r"no answer within 0\.3 s"):
        worker.ask("held")
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_errors_are_answers_and_the_process_lives_on(worker):
    with pytest.raises(UnusableError, match="no bundle"):
        worker.ask("open", candidate={"bundle": "/nowhere"})
    with pytest.raises(UnusableError, match="has no attribute"):
        worker.ask("dance")
    opened(worker)
    assert worker.ask("held")["peak"] > 10_000_000


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="/proc")
def test_what_an_engine_prints_is_not_taken_for_an_answer(worker):
    opened(worker)
    # The standard output of the process is where its errors go; answers have a pipe of their own.
    out, err = (os.readlink(f"/proc/{worker.pid}/fd/{k}") for k in (1, 2))
    assert out == err
    assert out.endswith("errors.log")


def test_the_process_ends_with_its_owner(tiny, tmp_path):
    worker = Worker(Candidate(bundle=tiny.path), tmp_path / "errors.log", 60.0)
    opened(worker)
    worker._process.stdin.close()
    end = time.monotonic() + 30
    while worker._process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert worker._process.poll() == 0
    worker.close()
