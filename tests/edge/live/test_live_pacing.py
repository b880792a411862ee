"""What a run makes of its seconds: rates fall when pictures are missed and nothing is idle."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from crosscam_edge.live.latency import Latency
from crosscam_edge.live.looking import Look
from crosscam_edge.live.pacing import Pacing
from crosscam_edge.live.rates import Need, Pace


class Hall:
    """Stands for `Watched`: sends ten pictures a second."""

    name = "hall"

    def __init__(self):
        self.latency, self.costs = Latency(), []

    def took(self, seconds):
        self.costs.append(seconds)

    def need(self, target, now_ns):
        return Need(min(10.0, target), 0.2, occupied=True)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(
        "crosscam_edge.live.pacing.time", SimpleNamespace(perf_counter=lambda: now[0])
    )
    return now


def second(pacing, clock, hall, *, looked, idle_s):
    """So many pictures in a second, and so much of it with nothing to do."""
    for _ in range(looked):
        picture = SimpleNamespace(time_ns=0, arrival_ns=0)
        pacing.count(Look(hall, picture, 0, convert_s=0.01, detector_s=0.2, track_s=0.1))
    pacing.idle(idle_s)
    clock[0] += 1.0
    pacing.decide([hall])
    return pacing.control.pace("hall")


def test_all_that_a_picture_takes_is_its_cost(clock):
    pacing, hall = Pacing(10.0, lambda: 0), Hall()
    second(pacing, clock, hall, looked=2, idle_s=0.0)
    assert hall.costs == pytest.approx([0.31] * 2)


def test_a_run_that_does_all_that_is_asked_is_left_alone(clock):
    """Also one that never waits."""
    pacing, hall = Pacing(10.0, lambda: 0), Hall()
    paces = {second(pacing, clock, hall, looked=10, idle_s=0.0) for _ in range(30)}
    assert paces == {Pace.FULL}


def test_a_camera_that_sends_less_than_it_seemed_is_no_overload(clock):
    pacing, hall = Pacing(10.0, lambda: 0), Hall()
    paces = {second(pacing, clock, hall, looked=5, idle_s=0.5) for _ in range(30)}
    assert paces == {Pace.FULL}


def test_a_run_that_misses_pictures_and_never_waits_is_relieved_and_comes_back(clock):
    pacing, hall = Pacing(10.0, lambda: 0), Hall()
    for _ in range(10):
        last = second(pacing, clock, hall, looked=5, idle_s=0.0)
    assert last is Pace.LOWERED
    assert pacing.control.rate("hall") == pytest.approx(5.0, rel=0.1)
    for _ in range(30):
        rate = min(10, round(pacing.control.rate("hall")))
        last = second(pacing, clock, hall, looked=rate, idle_s=0.5)
    assert last is Pace.FULL
    assert pacing.control.rate("hall") == 10.0


def test_a_second_is_as_long_as_it_was(clock):
    """A request that held the run for three seconds: what was looked at is taken by the second."""
    pacing, hall = Pacing(10.0, lambda: 0), Hall()
    for _ in range(10):
        clock[0] += 2.0
        last = second(pacing, clock, hall, looked=30, idle_s=0.0)
    assert last is Pace.FULL
