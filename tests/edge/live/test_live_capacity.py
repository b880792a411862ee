"""What a machine does is known from what it missed, and tried out ever less often."""

from __future__ import annotations

import pytest

from crosscam_edge.live.capacity import Capacity


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


def test_what_still_came_through_is_what_it_does():
    capacity = Capacity()
    seconds(capacity, 5, 50, 30)
    assert seconds(capacity, 10, 30, 20) == pytest.approx(20, rel=0.02)


def test_time_that_is_left_is_counted_on_at_once():
    capacity = Capacity()
    seconds(capacity, 5, 50, 10)
    assert seconds(capacity, 12, 10, 10, idle=0.8) == pytest.approx(50, rel=0.1)


def test_a_little_more_is_tried_and_less_often_each_time_that_it_was_too_much():
    capacity = Capacity()
    seconds(capacity, 5, 50, 30)
    waits = []
    for _ in range(3):
        before, waited = capacity.known, 0
        while capacity.known == before:
            seconds(capacity, 1, before, before)
            waited += 1
            assert waited < 100
        waits.append(waited)
        assert before < seconds(capacity, 20, 30, 30) <= 1.16 * 30
        seconds(capacity, 6, 40, 30)
    assert waits[0] < waits[1] < waits[2]


def test_it_goes_on_being_tried_seldom_until_all_was_well_for_long():
    capacity = Capacity()
    seconds(capacity, 5, 50, 30)
    for _ in range(4):  # too much each time
        seconds(capacity, 100, 30, 30)
        seconds(capacity, 6, 40, 30)
    known = capacity.known
    assert seconds(capacity, 60, 30, 30) == pytest.approx(known, rel=0.001)
    capacity.forget()
    seconds(capacity, 80, 30, 30)
    seconds(capacity, 6, 50, 30)
    assert seconds(capacity, 30, 30, 30) > 1.1 * known


def test_nothing_planned_teaches_nothing():
    capacity = Capacity()
    seconds(capacity, 5, 50, 30)
    assert seconds(capacity, 50, 0, 0, idle=1.0) == pytest.approx(30)
    capacity.forget()
    assert capacity.known is None
