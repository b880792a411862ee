"""The graph in int8 or fp8 that keeps its answers: how ranges are chosen, and what is smoothed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from crosscam_deploy.precision import smooth
from crosscam_deploy.precision.beyond import beyond_half
from crosscam_deploy.precision.found import Lowered, leave_worst
from crosscam_deploy.precision.observe import channel_extremes, observe
from crosscam_deploy.precision.quantiser import SWITCHES, Quantiser, quantisable
from crosscam_deploy.precision.ranges import METHODS, Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from crosscam_deploy.precision.eight_bits import Numbers
    from crosscam_deploy.precision.found import Tell, Wanted
    from crosscam_deploy.precision.judge import Judge
    from crosscam_deploy.precision.observe import Observed

_OF_FLOATS: tuple[Method, ...] = ("minmax", "average", "percentile")
"""Methods that ask for no steps of equal size, as fp8 has none."""


class _Way(NamedTuple):
    """A way of writing the whole graph."""

    quantiser: Quantiser
    method: Method
    symmetric: bool
    alpha: float | None

    def words(self) -> str:
        zero = "zero in the middle" if self.symmetric else "any zero"
        moved = "" if self.alpha is None else f", outliers moved to weights by {self.alpha}"
        return f"ranges by {self.method}, {zero}{moved}"

    def graph(self) -> Any:
        return self.quantiser.graph(self.method, symmetric=self.symmetric)


def search_pairs(model: Any, judge: Judge, numbers: Numbers, tell: Tell) -> tuple[Lowered, ...]:
    """Try all ways of choosing ranges, and leave in float what breaks the best of them.

    Args:
        model: As from `rewriting.named`, in float32, with `quantisable` nodes.
        judge: Of what is lost.
        numbers: Of what enters products; what stays is float32 with ``uint8``, else float16.
        tell: Hears what is done.

    Returns:
        As `search.search`.
    """
    tell("watching values", 0, 1)
    pictures, nodes = judge.calibration, quantisable(model, numbers)
    beyond = () if numbers == "uint8" else beyond_half(model, pictures)
    seen = observe(model, sorted(set(nodes.values())), pictures)
    tried: dict[str, float] = {}
    best: tuple[float, _Way] | None = None

    def quantiser(graph: Any, values: Mapping[str, Observed]) -> Quantiser:
        return Quantiser(graph, values, numbers, "f32" if numbers == "uint8" else "f16", beyond)

    def attempt(way: _Way) -> None:
        nonlocal best
        found = tried[way.words()] = judge.loss(way.graph())
        if best is None or found < best[0]:
            best = found, way
        tell("choosing ranges", len(tried), len(METHODS))

    plain = quantiser(model, seen)
    methods = _OF_FLOATS if numbers == "fp8" else METHODS
    for method in methods:
        attempt(_Way(plain, method, symmetric=True, alpha=None))
    assert best is not None
    if numbers == "uint8":
        # SiLU and the like go a little below zero: half of a symmetric range is empty
        for method in (best[1].method,) if best[0] <= 1 else METHODS:
            attempt(_Way(plain, method, symmetric=False, alpha=None))
    chosen = best[1]
    for alpha, graph, values in _smoothed(model, judge, nodes, seen):
        other = quantiser(graph, values)
        others: tuple[Method, ...] = (chosen.method, "minmax")
        for method in dict.fromkeys(others):
            attempt(_Way(other, method, chosen.symmetric, alpha))
    loss, way = best
    kept = tuple(name for name in beyond if name in nodes)
    wanted: Wanted = "fp8" if numbers == "fp8" else "int8"
    whole = Lowered(way.graph(), wanted, way.words(), kept, loss, tried)
    if loss <= 1 or not way.quantiser.nodes:
        return (whole,)
    switched = way.quantiser.switched(way.method, symmetric=way.symmetric)
    names = list(way.quantiser.nodes)
    return leave_worst(
        whole,
        names,
        judge.by_switches(switched, SWITCHES, names),
        lambda keep: way.quantiser.graph(way.method, symmetric=way.symmetric, keep=keep),
        judge,
        tell,
    )


def _smoothed(
    model: Any, judge: Judge, nodes: Mapping[str, str], seen: Mapping[str, Observed]
) -> Iterator[tuple[float, Any, dict[str, Observed]]]:
    """Yield the graph with its outliers moved by each share, and what is seen of its values."""
    found = [each for each in smooth.pairs(model) if all(name in nodes for name in each.products)]
    if not found:
        return
    extremes = channel_extremes(model, [each.output for each in found], judge.calibration)
    changed = sorted({nodes[name] for each in found for name in each.products})
    for alpha in smooth.ALPHAS:
        graph = smooth.smoothed(model, found, extremes, alpha)
        yield alpha, graph, {**seen, **observe(graph, changed, judge.calibration)}
