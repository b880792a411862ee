"""What a machine does is known from what it missed, and followed while more is asked of it."""

from __future__ import annotations

import pytest

from crosscam_edge.live.capacity import MORE, Capacity


def seconds(capacity, count, planned, done, idle=0.0):
    for _ in range(count):
        capacity.step(planned, done, idle)
    return capacity.known


def test_nothing_is_known_until_pictures_were_missed_for_longer_than_a_moment():
    capacity = Capacity()
    assert seconds(capacity, 20, 50, 49) is None
    assert seconds(capacity, 20, 50, 20, idle=0.2) is None  # cameras sent less
    assert seconds(Capacity(), 1, 50, 30) is None
    assert seconds(Capacity(), 2, 50, 30) == pytest.approx(30)


@pytest.mark.parametrize("does", [8.0, 20.0, 90.0])
def test_what_still_comes_through_is_what_it_does(does):
    """Less or more than before: it is asked for a little more each time."""
    capacity = Capacity()
    known = seconds(capacity, 3, 100, 30)
    for _ in range(20):
        planned = min(100.0, MORE * known)
        known = seconds(capacity, 1, planned, min(planned, does))
    assert known == pytest.approx(does, rel=0.05)


def test_time_that_is_left_is_counted_on():
    capacity = Capacity()
    seconds(capacity, 5, 50, 10)
    assert seconds(capacity, 20, 10, 10, idle=0.8) == pytest.approx(50, rel=0.1)


def test_cameras_that_send_less_do_not_make_it_do_less():
    capacity = Capacity()
    known = seconds(capacity, 5, 50, 30)
    assert seconds(capacity, 20, 5, 5, idle=0.8) >= 0.8 * known


def test_nothing_planned_teaches_nothing():
    capacity = Capacity()
    seconds(capacity, 5, 50, 30)
    assert seconds(capacity, 50, 0, 0, idle=1.0) == pytest.approx(30)
    capacity.forget()
    assert capacity.known is None
