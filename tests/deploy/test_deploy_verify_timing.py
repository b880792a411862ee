"""Turns and their figures: drift that hits all alike must not show in a ratio."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.verify.timing import Clocked, Plan, Turn, summary, take_turns
from crosscam_deploy.verify.worker import UnusableError


class Scripted:
    """Answers `speed` as told; stands for a process where only the bookkeeping is tested."""

    def __init__(self, log: list, name: str, ms: float, *, wrong: str | None = None, dies_at=99):
        self.log, self.name, self.ms, self.wrong, self.dies_at = log, name, ms, wrong, dies_at
        self.asked = 0

    def ask(self, what: str, *, batch: int, seconds: float, calls: int) -> dict:
        self.asked += 1
        self.log.append((self.name, batch))
        if self.asked >= self.dies_at:
            raise UnusableError("it crashed")
        ms = [self.ms * batch] * calls
        return {"ms": ms, "wall": sum(ms) / 1e3, "processor": 0.5, "difference": self.wrong}


def test_everybody_has_a_turn_and_the_first_one_changes():
    log: list = []
    candidates = [Clocked(Scripted(log, name, 1.0)) for name in "abc"]
    take_turns(candidates, Plan((1, 4), rounds=3, seconds=0, calls=2))
    assert log == [
        (name, batch) for order in ("abc", "bca", "cab") for batch in (1, 4) for name in order
    ]
    (one, four) = summary(candidates[0], candidates[1], (1, 4))
    assert (one.calls, one.ms_median, one.ms_p95, one.ms_each) == pytest.approx((6, 1, 1, 1))
    assert (four.ms_median, four.ms_each, four.each_per_second) == pytest.approx((4, 1, 1000))
    assert four.cpu_ms_each == pytest.approx(500 / 8)
    assert one.ratio == pytest.approx(1.0)


def test_who_fails_is_left_out_from_then_on():
    log: list = []
    good, dies, lies = (
        Clocked(Scripted(log, "good", 1.0)),
        Clocked(Scripted(log, "dies", 1.0, dies_at=2)),
        Clocked(Scripted(log, "lies", 1.0, wrong="a vector moved")),
    )
    steps: list = []
    take_turns([good, dies, lies], Plan((1,), rounds=3, seconds=0), 0, lambda: steps.append(1))
    assert len(steps) == 9
    assert not good.failed
    assert "it crashed" in dies.failed
    assert "answers changed" in lies.failed
    assert log.count(("good", 1)) == 3
    assert log.count(("dies", 1)) == 2
    assert log.count(("lies", 1)) == 1
    assert summary(lies, good, (1,)) == []


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=9),
    st.floats(0.2, 5),
)
def test_a_ratio_is_taken_inside_a_round(drift, faster):
    base, candidate = Clocked(None), Clocked(None)
    for number, slow in enumerate(drift):
        base.turns[1][number] = Turn((slow,), 1000 / slow, 1.0)
        candidate.turns[1][number] = Turn((slow / faster,), 1000 * faster / slow, 1.0)
    (found,) = summary(candidate, base, (1,))
    assert found.ratio == pytest.approx(faster)
    (alone,) = summary(candidate, None, (1,))
    assert alone.ratio is None


def test_rounds_without_the_baseline_do_not_count():
    base, candidate = Clocked(None), Clocked(None)
    base.turns[1][5] = Turn((1.0,), 1000.0, 1.0)
    candidate.turns[1][5] = Turn((0.5,), 2000.0, 1.0)
    candidate.turns[1][6] = Turn((0.1,), 10000.0, 1.0)
    (found,) = summary(candidate, base, (1,))
    assert found.ratio == 2.0
    candidate.turns[1].pop(5)
    (found,) = summary(candidate, base, (1,))
    assert found.ratio is None
