"""Who is looked at less often when there is not time enough: never unfair, never flickering."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_edge.live.rates import (
    BUDGET,
    FELL,
    FLOOR,
    SLOWEST,
    Need,
    Pace,
    RateControl,
    share,
)

RATES = st.floats(0.1, 60)
NEEDS = st.lists(st.builds(Need, RATES, st.floats(1e-4, 2), st.booleans()), max_size=12)
NEAR = 1e-6


def cost(needs, rates):
    return sum(need.cost_s * rate for need, rate in zip(needs, rates, strict=True))


@settings(deadline=None)
@given(NEEDS, st.floats(0, 1))
def test_time_is_shared_fairly_whatever_there_is(needs, budget):
    rates = share(needs, budget)
    floors = [min(FLOOR, need.wanted) for need in needs]
    assert cost(needs, rates) <= budget + NEAR
    assert all(0 <= r <= n.wanted + NEAR for n, r in zip(needs, rates, strict=True))
    enough = cost(needs, floors) <= budget
    lowered = [r < n.wanted - NEAR for n, r in zip(needs, rates, strict=True)]
    if enough:  # nobody falls below the floor while that can be avoided
        assert all(r >= low - NEAR for low, r in zip(floors, rates, strict=True))
    if any(lowered):  # nothing is left over
        assert cost(needs, rates) >= budget - NEAR
    for a, (one, rate) in enumerate(zip(needs, rates, strict=True)):
        for b, (other, its) in enumerate(zip(needs, rates, strict=True)):
            if a == b or not lowered[a]:
                continue
            if one.occupied == other.occupied or not enough:  # alike: nobody has more than I
                assert its <= max(rate, FLOOR if enough else 0) + NEAR
            if enough and one.occupied and not other.occupied:  # with people first
                assert its <= min(FLOOR, other.wanted) + NEAR


def test_cameras_with_nobody_are_lowered_first():
    busy, idle = Need(10, 0.05, True), Need(10, 0.04, False)
    assert share([busy, idle, idle], 0.66) == pytest.approx([10, 2, 2])
    assert share([busy, idle, idle], 0.74) == pytest.approx([10, 3, 3])
    assert share([busy, busy, idle], 0.58) == pytest.approx([5, 5, 2])
    assert share([busy, busy, idle], 0.14) == pytest.approx([1, 1, 1])
    assert share([busy, Need(1, 0.05, True)], 0.4) == pytest.approx([7, 1])


def load(control, needs, seconds=20):
    for _ in range(seconds):
        control.step(needs)
    return {name: control.rate(name) for name in needs}


def test_what_fits_is_left_alone():
    control = RateControl(10)
    needs = {"a": Need(10, 0.04, True), "b": Need(10, 0.04, False)}
    assert load(control, needs) == {"a": 10, "b": 10}
    assert {control.pace(name) for name in needs} == {Pace.FULL}


def test_too_much_is_lowered_told_and_given_back():
    control = RateControl(10)
    few = {"a": Need(10, 0.05, True), "b": Need(10, 0.05, False)}
    control.step(few)
    assert not control.limiting  # a moment is no overload
    assert load(control, few) == {"a": 10, "b": pytest.approx((BUDGET - 0.5) / 0.05)}
    assert (control.pace("a"), control.pace("b")) == (Pace.FULL, Pace.LOWERED)
    many = {f"c{k}": Need(10, 0.1, True) for k in range(10)}
    rates = load(control, many)
    assert rates == {name: pytest.approx(BUDGET) for name in many}
    assert {control.pace(name) for name in many} == {Pace.TOO_LOW}
    quick = {"a": Need(10, 0.02, True), "b": Need(10, 0.02, False)}
    assert load(control, quick) == {"a": 10, "b": 10}
    assert not control.limiting


@pytest.mark.parametrize("target", [10.0, 0.1])
def test_work_that_takes_all_the_time_stops_no_camera(target):
    """As when a hundred cameras are added; and the next picture is not a day off."""
    control = RateControl(target)
    for _ in range(5):
        control.step({"a": Need(target, 0.01, True), "b": Need(target, 0.01, False)}, other=1.0)
    assert control.rate("a") == control.rate("b") == min(SLOWEST, target)
    assert control.pace("a") is Pace.TOO_LOW
    for _ in range(10):
        control.step({"a": Need(target, 0.01, True), "b": Need(target, 0.01, False)})
    assert control.rate("a") == target


def test_whoever_gets_somebody_into_the_picture_is_raised_at_once():
    control = RateControl(10)
    idle = {name: Need(10, 0.1, False) for name in "abc"}
    load(control, idle)
    control.step(idle | {"a": Need(10, 0.1, True)})
    assert control.rate("a") == pytest.approx((BUDGET - 2 * FLOOR * 0.1) / 0.1)
    assert control.rate("b") == pytest.approx(FLOOR)


def test_a_camera_that_comes_back_begins_modestly_and_others_have_its_time_meanwhile():
    control = RateControl(10)
    both = {"a": Need(10, 0.08, True), "b": Need(10, 0.08, True)}
    load(control, both)
    alone = {"a": Need(10, 0.08, True), "c": Need(10, 0.04, False)}
    load(control, alone, 4)
    assert control.limiting
    assert control.rate("b") == FLOOR


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=40),
    st.lists(st.floats(0.005, 0.2), min_size=4, max_size=4),
    st.lists(st.floats(0.9, 1.1), min_size=40, max_size=40),
)
def test_over_time_it_keeps_to_the_time_there_is(people, costs, noise):
    """A simulated clock: each entry of `people` is a second; costs are measured with some noise."""
    control = RateControl(10)
    for second, occupied in enumerate(people):
        needs = {
            str(k): Need(10, costs[k] * noise[(second + k) % 40], occupied[k]) for k in range(4)
        }
        control.step(needs)
        spent = sum(min(control.rate(n), need.wanted) * need.cost_s for n, need in needs.items())
        if control.limiting:
            assert spent <= BUDGET / FELL + NEAR
            floors = sum(FLOOR * need.cost_s for need in needs.values())
            if floors * 1.25 < BUDGET:  # whatever the noise
                assert all(control.rate(name) >= FLOOR - NEAR for name in needs)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.93, 1.07), min_size=60, max_size=60), st.floats(0.6, 3))
def test_a_load_about_a_limit_does_not_make_rates_flicker(noise, total):
    """Costs that wander by a few percent change what is told of a camera hardly ever."""
    control, told, cost = RateControl(10), [], 1.0
    for factor in noise:
        cost = 0.8 * cost + 0.2 * factor  # as `Watched.took` and `Pacing` have it
        control.step({str(k): Need(10, total * cost / 40, k > 1) for k in range(4)})
        told.append(tuple(control.pace(str(k)) for k in range(4)))
    assert sum(a != b for a, b in pairwise(told)) <= 6
