"""Fair times on a machine that drifts: candidates take turns, round after round.

Clocks, temperature and other work change over minutes. So nobody is timed in one go: in every round
each candidate gets a short turn at each batch size, the order moves on by one, and a ratio is taken
inside a round, between neighbours in time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosscam_deploy.verify.types import Speed
from crosscam_deploy.verify.worker import UnusableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosscam_deploy.verify.worker import Worker

_SETTLE_S = 0.02  # threads of the one before may still be spinning


class Plan(NamedTuple):
    """How long to measure.

    Attributes:
        batches: Batch sizes.
        rounds: Turns of each candidate.
        seconds: Least length of a turn at one batch size.
        calls: Least number of calls in it.
    """

    batches: tuple[int, ...]
    rounds: int = 5
    seconds: float = 0.3
    calls: int = 3


class Turn(NamedTuple):
    """One turn of one candidate.

    Attributes:
        ms: Of each call.
        per_second: Pictures.
        processor_ms: Of all threads, for one picture.
    """

    ms: tuple[float, ...]
    per_second: float
    processor_ms: float


@dataclass
class Clocked:
    """A candidate while it is timed.

    Attributes:
        worker: Its process.
        turns: By batch size and round.
        failed: Why it could not go on; empty while it can.
    """

    worker: Worker
    turns: dict[int, dict[int, Turn]] = field(default_factory=lambda: defaultdict(dict))
    failed: str = ""


def take_turns(
    candidates: Sequence[Clocked],
    plan: Plan,
    first_round: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Time candidates; who fails is left out from then on.

    Args:
        candidates: Who takes part; gets the turns.
        plan: How long.
        first_round: Number of the first round, for those who take part several times.
        progress: Called after every turn.
    """
    for number in range(first_round, first_round + plan.rounds):
        for batch in plan.batches:
            for k in range(len(candidates)):
                candidate = candidates[(k + number) % len(candidates)]
                if not candidate.failed:
                    time.sleep(_SETTLE_S)
                    _turn(candidate, batch, number, plan)
                progress()


def _turn(candidate: Clocked, batch: int, number: int, plan: Plan) -> None:
    try:
        found = candidate.worker.ask("speed", batch=batch, seconds=plan.seconds, calls=plan.calls)
    except UnusableError as reason:
        candidate.failed = f"while it was timed with batches of {batch}: {reason}"
        return
    if found["difference"]:
        candidate.failed = (
            f"its answers changed while it was timed with batches of {batch}: {found['difference']}"
        )
        return
    pictures = batch * len(found["ms"])
    candidate.turns[batch][number] = Turn(
        tuple(found["ms"]), pictures / found["wall"], 1e3 * found["processor"] / pictures
    )


def summary(candidate: Clocked, baseline: Clocked | None, batches: Sequence[int]) -> list[Speed]:
    """Return the figures of a candidate.

    Args:
        candidate: After its turns.
        baseline: What to divide by, round by round; None for no ratio.
        batches: Batch sizes to tell.
    """
    out = []
    for batch in batches:
        turns = candidate.turns.get(batch)
        if not turns:
            continue
        calls = np.array([ms for turn in turns.values() for ms in turn.ms])
        per_second = float(np.median([turn.per_second for turn in turns.values()]))
        shared = baseline.turns.get(batch, {}) if baseline is not None else {}
        ratios = [
            turn.per_second / shared[number].per_second
            for number, turn in turns.items()
            if number in shared
        ]
        out.append(
            Speed(
                batch=batch,
                calls=len(calls),
                ms_median=float(np.median(calls)),
                ms_p95=float(np.percentile(calls, 95)),
                ms_each=1e3 / per_second,
                each_per_second=per_second,
                cpu_ms_each=float(np.median([turn.processor_ms for turn in turns.values()])),
                ratio=float(np.median(ratios)) if ratios else None,
            )
        )
    return out
