"""What a run thinks that pictures take: as much as its thread was busy, not more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from crosscam_edge.live.looking import Look
from crosscam_edge.live.pacing import Pacing
from crosscam_edge.live.rates import BUDGET, Need, Pace


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(
        "crosscam_edge.live.pacing.time", SimpleNamespace(perf_counter=lambda: now[0])
    )
    return now


def second(pacing, clock, *, idle_s):
    """Five pictures of .2 s each, as they seemed, while the thread was idle for so long."""
    watched = SimpleNamespace(
        name="hall", took=lambda _: None, need=lambda *_: Need(10.0, 0.2, occupied=True)
    )
    look = Look(watched, None, 0)
    look.detector_s = 0.2
    for _ in range(5):
        pacing.took([look], 0.1)
    pacing.idle(idle_s)
    clock[0] += 1.0
    pacing.decide([watched])
    return pacing.control.pace("hall")


def test_a_run_that_mostly_waits_has_room(clock):
    pacing = Pacing(10.0, lambda: 0)
    assert {second(pacing, clock, idle_s=0.8) for _ in range(30)} == {Pace.FULL}


def test_a_run_that_never_waits_has_none(clock):
    pacing = Pacing(10.0, lambda: 0)
    for _ in range(30):
        last = second(pacing, clock, idle_s=0.0)
    assert last is Pace.LOWERED
    assert pacing.control.rate("hall") == pytest.approx(BUDGET / 0.2, rel=0.02)


def test_a_run_that_was_slow_for_a_moment_comes_back(clock):
    pacing = Pacing(10.0, lambda: 0)
    for _ in range(10):
        second(pacing, clock, idle_s=0.0)
    for _ in range(40):
        last = second(pacing, clock, idle_s=0.8)
    assert last is Pace.FULL
    assert pacing.control.rate("hall") == 10.0
