from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.sources import PresentationClock

MS = Fraction(1, 1000)


def test_variable_frame_rate_is_kept() -> None:
    clock = PresentationClock(25)
    times = [clock.stamp(p, MS) for p in (500, 540, 700, 701)]
    assert times == [0, 40_000_000, 200_000_000, 201_000_000]
    assert clock.repaired == 0


def test_one_missing_and_one_backward_time_do_not_move_the_rest() -> None:
    clock = PresentationClock(10)
    times = [clock.stamp(p, MS) for p in (0, 100, None, 300, 50, 500)]
    assert times == [0, 100_000_000, 200_000_000, 300_000_000, 400_000_000, 500_000_000]
    assert clock.repaired == 2


def test_clock_follows_a_stream_that_starts_again() -> None:
    clock = PresentationClock(10)
    pts = [5000 + 100 * i for i in range(10)] + [200 * i for i in range(20)]
    times = [clock.stamp(p, MS) for p in pts]
    assert times == sorted(set(times))
    # after the jump the stream's own pace (200 ms) is taken up again
    assert times[-1] - times[-2] == 200_000_000
    assert clock.repaired <= 6


def test_a_time_a_century_ahead_is_not_believed() -> None:
    clock = PresentationClock(10)
    times = [clock.stamp(p, MS) for p in (0, 100, 3_000_000_000_000, 300)]
    assert times == [0, 100_000_000, 200_000_000, 300_000_000]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), max_size=80))
def test_times_always_increase(pts: list[int | None]) -> None:
    clock = PresentationClock(30)
    times = [clock.stamp(p, Fraction(1, 90000)) for p in pts]
    assert all(a < b for a, b in pairwise(times))
    assert times[:1] == [0][: len(times)]
