"""How often each camera is looked at when there is not time enough for all: fairly, and steadily.

Every camera is wanted so many times a second. While all of them are looked at so often, nothing is
lowered. Where they are not, what the machine does (`Capacity`) is shared:

1. every camera gets two pictures a second, fewer only when not even that fits, and one in five
   seconds in any case;
2. cameras with somebody in the picture share what is left, equally often, up to what is wanted;
3. what they leave goes to cameras with nobody in the picture.

Rates fall at once and rise when they could have risen for a while: a load about the limit does not
make them flicker.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from crosscam_edge.live.capacity import MORE, Capacity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FLOOR = 2.0
"""Pictures a second below which nobody goes while it can be avoided: people walk past."""
FELL = 0.95
"""A rate is lowered when it should be below this share of what it is."""
_ROSE = 1.1
_ALL = 0.98  # of what is wanted; cameras do not keep time
_STEPS_TO_RISE, _STEPS_TO_END = 3, 5
_LEAST_COST_S = 1e-6
SLOWEST = 0.2
"""Pictures a second that everybody gets, also while other work takes all the time."""


class Pace(StrEnum):
    """How often a camera is looked at.

    Attributes:
        FULL: As often as is wanted, or as it sends pictures.
        LOWERED: Less often, for there is not time enough.
        TOO_LOW: Less often than `FLOOR`: the machine has too many cameras.
    """

    FULL = "full"
    LOWERED = "lowered"
    TOO_LOW = "too_low"


@dataclass(frozen=True, slots=True)
class Need:
    """What a camera that sends pictures needs.

    Attributes:
        wanted: Pictures a second, > 0; no more than it sends.
        cost_s: Work that one is, seconds; only how they compare among cameras counts.
        occupied: Whether somebody is in the picture.
    """

    wanted: float
    cost_s: float
    occupied: bool


def share(needs: Sequence[Need], budget: float) -> list[float]:
    """Share time among cameras.

    Args:
        needs: Of the cameras.
        budget: Work in a second that is possible, in the unit of the costs, >= 0.

    Returns:
        Pictures a second of each camera; together they are no more than the budget.
    """
    costs = [max(each.cost_s, _LEAST_COST_S) for each in needs]
    wanted = [each.wanted for each in needs]
    floors = [min(FLOOR, rate) for rate in wanted]
    if sum(c * rate for c, rate in zip(costs, floors, strict=True)) > budget:
        return _equally([0.0] * len(needs), floors, costs, budget)
    first = [each.wanted if each.occupied else low for each, low in zip(needs, floors, strict=True)]
    return _equally(_equally(floors, first, costs, budget), wanted, costs, budget)


def _equally(
    lows: Sequence[float], highs: Sequence[float], costs: Sequence[float], budget: float
) -> list[float]:
    """Raise all rates to one level, each within its bounds, as far as the budget goes.

    What a level costs grows with it along straight lines that meet at the bounds: the last bound
    that can be paid for, and from there along its line.
    """

    def at(level: float) -> list[float]:
        return [min(max(level, low), high) for low, high in zip(lows, highs, strict=True)]

    def cost(level: float) -> float:
        return sum(c * rate for c, rate in zip(costs, at(level), strict=True))

    level = 0.0
    for bound in sorted({*lows, *highs}):
        if cost(bound) > budget:
            slope = sum(
                c for c, low, high in zip(costs, lows, highs, strict=True) if low <= level < high
            )
            return at(level + max(0.0, budget - cost(level)) / slope) if slope else at(level)
        level = bound
    return at(level)


class RateControl:
    """Decides once a second how often each camera is looked at.

    Args:
        target: Pictures of a camera in a second, when there is time enough.

    Attributes:
        target: As above; may be changed at any time.
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self._capacity = Capacity()
        self._rates: dict[str, float] = {}
        self._needs: dict[str, Need] = {}
        self._end = 0
        self._rise: Counter[str] = Counter()

    @property
    def limiting(self) -> bool:
        """Whether rates are lowered."""
        return self._capacity.known is not None

    def rate(self, name: str) -> float:
        """Return how often a camera is looked at, pictures a second, > 0."""
        if not self.limiting:
            return self.target
        rate, need = self._rates.get(name), self._needs.get(name)
        if rate is None or need is None:  # it sends nothing; when it does it begins modestly
            return min(FLOOR, self.target)
        return self.target if rate >= need.wanted else max(rate, min(SLOWEST, self.target))

    def asked(self, name: str) -> float:
        """Return how often to look at a camera, pictures a second: a little more than `rate`.

        Those that look seldom keep time, and those that look often miss some: see `Capacity`.
        """
        return min(self.target, MORE * self.rate(name))

    def pace(self, name: str) -> Pace:
        """Return what that means for a camera."""
        rate, need = self._rates.get(name), self._needs.get(name)
        if not self.limiting or rate is None or need is None or rate >= need.wanted:
            return Pace.FULL
        return Pace.TOO_LOW if rate < min(FLOOR, need.wanted) - 1e-9 else Pace.LOWERED

    def step(self, needs: Mapping[str, Need], looked: Mapping[str, float], idle: float) -> None:
        """Decide anew; call it once a second.

        Args:
            needs: Of all cameras that send pictures, by name.
            looked: Pictures a second that were looked at since the last step, by name; 0 where
                one is missing.
            idle: Share of that time, and of what can be done at once, that was not used.
        """
        before, self._needs = self._needs, dict(needs)
        average = _average([max(each.cost_s, _LEAST_COST_S) for each in needs.values()])
        weighed = {
            name: replace(need, cost_s=max(need.cost_s, _LEAST_COST_S) / average)
            for name, need in needs.items()
        }
        known = [name for name in needs if name in before]  # others were not there all the time
        self._capacity.step(
            sum(weighed[name].cost_s * min(self.asked(name), needs[name].wanted) for name in known),
            sum(weighed[name].cost_s * looked.get(name, 0.0) for name in known),
            idle,
        )
        possible = self._capacity.known
        if possible is None:
            self._rates = {name: need.wanted for name, need in needs.items()}
            return
        wanted = sum(each.wanted * each.cost_s for each in weighed.values())
        self._end = self._end + 1 if _ALL * wanted <= possible else 0
        if self._end >= _STEPS_TO_END:
            self._capacity.forget()
            self._end = 0
            self._rise.clear()
            return
        plan = share([*weighed.values()], possible)
        self._rates = {
            name: self._towards(name, rate, before) for name, rate in zip(needs, plan, strict=True)
        }

    def _towards(self, name: str, plan: float, before: Mapping[str, Need]) -> float:
        """Return the rate of a camera, which follows the plan downwards at once."""
        now = self._rates.get(name)
        if now is None:
            return plan
        need, was = self._needs[name], before.get(name)
        came = need.occupied and was is not None and not was.occupied
        rises = plan > now * _ROSE or now < min(FLOOR, need.wanted) <= plan or (
            plan >= need.wanted > now
        )  # fmt: skip
        self._rise[name] = self._rise[name] + 1 if rises else 0
        if plan < now * FELL or (rises and (came or self._rise[name] >= _STEPS_TO_RISE)):
            self._rise[name] = 0
            return plan
        return min(now, need.wanted)


def _average(costs: Sequence[float]) -> float:
    return sum(costs) / len(costs) if costs else 1.0
