"""Who is looked at less often when there is not time enough: never unfair, never flickering."""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_edge.live.rates import FLOOR, SLOWEST, Need, Pace, RateControl, share

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


class Machine:
    """Does so much work in a second; what it does not manage is spread over all cameras.

    Args:
        control: Decides.
        does: Work a second; cameras' costs are in the same unit.
    """

    def __init__(self, control, does=1.0):
        self.control, self.does = control, does
        self.spent = 0.0

    def second(self, needs):
        asked = {name: min(self.control.asked(name), need.wanted) for name, need in needs.items()}
        work = sum(need.cost_s * asked[name] for name, need in needs.items())
        managed = min(1.0, self.does / work) if work else 1.0
        self.spent = work * managed
        looked = {name: rate * managed for name, rate in asked.items()}
        self.control.step(needs, looked, max(0.0, 1.0 - work / self.does) if self.does else 0.0)

    def run(self, needs, seconds=40):
        for _ in range(seconds):
            self.second(needs)
        return {name: self.control.rate(name) for name in needs}


def test_what_fits_is_left_alone():
    control = RateControl(10)
    needs = {"a": Need(10, 0.049, True), "b": Need(10, 0.049, False)}
    assert Machine(control).run(needs) == {"a": 10, "b": 10}
    assert {control.pace(name) for name in needs} == {Pace.FULL}


@pytest.mark.parametrize("seems", [0.4, 1.0, 2.5])
def test_too_much_is_lowered_told_and_given_back(seems):
    """However long pictures seem to take: only how they compare counts."""
    control = RateControl(10)
    machine = Machine(control, does=seems)
    few = {"a": Need(10, 0.07 * seems, True), "b": Need(10, 0.07 * seems, False)}
    machine.second(few)
    assert not control.limiting  # a moment is no overload
    rates = machine.run(few)
    assert rates == {"a": 10, "b": pytest.approx(0.3 / 0.07, rel=0.15)}
    assert (control.pace("a"), control.pace("b")) == (Pace.FULL, Pace.LOWERED)
    many = {f"c{k}": Need(10, 0.1 * seems, True) for k in range(10)}
    rates = machine.run(many)
    assert rates == {name: pytest.approx(1.0, rel=0.15) for name in many}
    assert {control.pace(name) for name in many} == {Pace.TOO_LOW}
    quick = {"a": Need(10, 0.02 * seems, True), "b": Need(10, 0.02 * seems, False)}
    assert machine.run(quick) == {"a": 10, "b": 10}
    assert not control.limiting


def test_what_was_too_much_for_a_moment_is_not_left_at_little():
    """The fault of costs that were added up: the less was looked at the more it seemed to take."""
    control = RateControl(2)
    machine = Machine(control, does=0.5)
    needs = {f"c{k}": Need(2, 1 / 40, True) for k in range(18)}
    rates = machine.run(needs, 10)
    assert max(rates.values()) < 1.3
    machine.does = 3.0
    dearer = {name: Need(2, 3 / 40, True) for name in needs}  # as they seem, one by one
    assert machine.run(dearer, 20) == dict.fromkeys(needs, 2)


@pytest.mark.parametrize("target", [10.0, 0.1])
def test_work_that_takes_all_the_time_stops_no_camera(target):
    """As when a hundred cameras are added; and the next picture is not a day off."""
    control = RateControl(target)
    machine = Machine(control, does=0.0)
    needs = {"a": Need(target, 0.01, True), "b": Need(target, 0.01, False)}
    machine.run(needs, 6)
    assert control.rate("a") == control.rate("b") == min(SLOWEST, target)
    assert control.pace("a") is Pace.TOO_LOW
    machine.does = 1.0
    machine.run(needs, 15)
    assert control.rate("a") == target


def test_whoever_gets_somebody_into_the_picture_is_raised_at_once():
    control = RateControl(10)
    machine = Machine(control)
    idle = {name: Need(10, 0.1, False) for name in "abc"}
    rates = machine.run(idle)
    machine.second(idle | {"a": Need(10, 0.1, True)})
    assert control.rate("a") > rates["a"] + 2
    assert control.rate("b") == pytest.approx(FLOOR)


def test_a_camera_that_comes_back_begins_modestly_and_others_have_its_time_meanwhile():
    control = RateControl(10)
    machine = Machine(control)
    both = {"a": Need(10, 0.08, True), "b": Need(10, 0.08, True)}
    rates = machine.run(both)
    machine.run({"a": Need(10, 0.08, True), "c": Need(10, 0.04, False)}, 5)
    assert control.limiting
    assert control.rate("b") == FLOOR
    assert control.rate("a") > rates["a"] + 1


def test_a_second_in_which_a_camera_came_is_not_held_against_it():
    """Nor one in which cameras stood still while the machine had nothing to do."""
    control = RateControl(10)
    needs = {"a": Need(10, 0.01, True)}
    for second in range(20):
        new = {f"new{second}": Need(10, 0.01, True)}
        control.step(needs | new, {"a": 10.0, f"new{second}": 1.0}, 0.0)
        assert not control.limiting
    for _ in range(20):
        control.step(needs, {"a": 3.0}, 0.5)
        assert not control.limiting


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=10),
    st.lists(st.floats(0.02, 0.2), min_size=4, max_size=4),
)
def test_over_time_all_that_the_machine_does_is_used_and_floors_are_kept(people, costs):
    """Each entry of `people` is ten seconds."""
    control = RateControl(10)
    machine = Machine(control)
    for occupied in people:
        needs = {str(k): Need(10, costs[k], occupied[k]) for k in range(4)}
        for second in range(10):
            machine.second(needs)
            wanted = sum(need.wanted * need.cost_s for need in needs.values())
            if second >= 8:
                assert machine.spent >= 0.8 * min(1.0, wanted)
            floors = sum(FLOOR * need.cost_s for need in needs.values())
            if control.limiting and floors < 0.7 and second >= 4:
                assert all(control.rate(name) >= FLOOR - NEAR for name in needs)


@pytest.mark.parametrize("total", [0.9, 1.0, 1.03, 1.06, 1.1, 1.2, 1.75, 2, 3])
def test_a_load_about_a_limit_does_not_make_rates_flicker(total):
    """What a machine does wanders by a few percent: in four minutes hardly any change is told."""
    noise = random.Random(0)
    control, told, spent = RateControl(10), [], []
    machine = Machine(control)
    for _ in range(240):
        machine.does = noise.uniform(0.93, 1.07)
        machine.second({str(k): Need(10, total / 40, k > 1) for k in range(4)})
        told.append(tuple(control.pace(str(k)) for k in range(4)))
        spent.append(machine.spent)
    assert sum(a != b for a, b in pairwise(told)) <= 16
    assert mean(spent) > 0.95 * min(1.0, total)
