"""The int8 graph that loses least: how ranges are chosen, and which nodes stay float."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.precision.int8 import Quantiser, quantisable
from crosscam_deploy.precision.loss import Limits, lost
from crosscam_deploy.precision.observe import observe, outputs
from crosscam_deploy.precision.ranges import METHODS, Method
from crosscam_deploy.precision.rewriting import named
from crosscam_deploy.precision.sensitivity import Sensitivity, fewest_kept, sweep
from crosscam_deploy.verify.answers import Inputs
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from crosscam_deploy.bundle import Bundle

_log = get_logger("precision")
# Of embeddings, of the gates' mean cosine .995 and worst .9, with room for other pictures; of boxes
# by what passes the gates on average precision.
LIMITS = {"embed": Limits(mean=0.004, worst=0.08), "detect": Limits(mean=0.06, worst=0.5)}
_GRADES = (1.0, 0.6)  # shares of the limits for which nodes are left in float
_HELD_OUT = 4  # every fourth picture decides; ranges follow from the others


@dataclass(frozen=True, slots=True)
class Quantised:
    """An int8 graph and how it was found.

    Attributes:
        model: The ``onnx.ModelProto``.
        method: How ranges were chosen.
        symmetric: Whether their zero is in the middle.
        kept: Nodes that stay float.
        loss: In shares of the limits; above 1 it is expected to fail its verification.
        tried: Loss by method, and whether symmetric, with all nodes in int8.
        sensitivity: Of each node, the most costly first; empty where no sweep was needed.
    """

    model: Any
    method: Method
    symmetric: bool
    kept: tuple[str, ...]
    loss: float
    tried: dict[tuple[Method, bool], float]
    sensitivity: tuple[Sensitivity, ...]

    @property
    def precision(self) -> Literal["int8", "mixed"]:
        """``int8``, or ``mixed`` when nodes stay float."""
        return "mixed" if self.kept else "int8"

    def words(self) -> str:
        """Return how it was made, for a manifest."""
        zero = "zero in the middle" if self.symmetric else "any zero"
        floats = f", {len(self.kept)} nodes in float" if self.kept else ""
        return f"ranges by {self.method}, {zero}{floats}"


def search(
    bundle: Bundle,
    inputs: Inputs,
    *,
    limits: Limits | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Quantised, ...]:
    """Quantise a bundle's graph so that its answers stay.

    All ways of choosing ranges are tried on pictures that the ranges do not follow from. When none
    keeps the limits, each node is quantised alone, and as few of the worst as possible stay float.

    Args:
        bundle: A float32 ONNX model.
        inputs: Pictures for calibration, at least 8.
        limits: Most that may be lost; those of the task if not given.
        progress: Called with what is done, and how many steps are done of how many.

    Returns:
        The whole graph in int8 where that keeps the limits; else graphs with ever more nodes in
        float, of which a verification chooses. When even half of all nodes in float are not enough,
        the whole graph in int8 with its loss above 1.

    Raises:
        InputError: Not a float ONNX graph, nothing in it to quantise, or too few pictures.
    """
    tell = progress or (lambda what, done, total: None)
    model = _source(bundle)
    nodes = quantisable(model)
    if not nodes:
        raise InputError(
            f"{bundle.manifest.name} has no convolution or product with constant weights",
            expected="a float network",
            fix="leave int8 out: --precision f32",
        )
    if len(inputs.batch) < 2 * _HELD_OUT:
        raise InputError(
            f"{len(inputs.batch)} pictures to calibrate with",
            expected=f"at least {2 * _HELD_OUT}, better 100 or more",
            fix="give more crops or frames",
        )
    held = np.arange(len(inputs.batch)) % _HELD_OUT == 0
    judged = _some(inputs, held)
    tell("watching values", 0, 1)
    seen = observe(model, sorted(set(nodes.values())), inputs.batch[~held])
    quantiser = Quantiser(model, seen)
    names = bundle.manifest.output_names
    reference = outputs(model, names, judged.batch)
    allowed = limits or LIMITS[bundle.manifest.task]

    def loss(graph: Any) -> float:
        found = lost(bundle, judged, reference, outputs(graph, names, judged.batch))
        return allowed.share(found)

    tried: dict[tuple[Method, bool], float] = {}
    best: Quantised | None = None

    def attempt(method: Method, *, symmetric: bool) -> None:
        nonlocal best
        graph = quantiser.graph(method, symmetric=symmetric)
        found = tried[method, symmetric] = loss(graph)
        if best is None or found < best.loss:
            best = Quantised(graph, method, symmetric, (), found, tried, ())
        tell("choosing ranges", len(tried), 2 * len(METHODS))

    for method in METHODS:
        attempt(method, symmetric=True)
    assert best is not None
    # SiLU and the like go a little below zero: half of a symmetric range is empty
    for method in (best.method,) if best.loss <= 1 else METHODS:
        attempt(method, symmetric=False)
    _log.info(
        "ranges chosen",
        model=bundle.manifest.name,
        losses={f"{m} {s}": v for (m, s), v in tried.items()},
    )
    if best.loss <= 1:
        return (best,)
    graphs = _mixed(best, quantiser, loss, tell)
    _log.info("nodes alone", model=bundle.manifest.name, worst=graphs[0].sensitivity[:5])
    return graphs


def _mixed(
    best: Quantised,
    quantiser: Quantiser,
    loss: Callable[[Any], float],
    tell: Callable[[str, int, int], None],
) -> tuple[Quantised, ...]:
    """Leave nodes in float until the limits are kept."""

    def quantised(keep: Collection[str]) -> Any:
        return quantiser.graph(best.method, symmetric=best.symmetric, keep=keep)

    ranked = sweep(
        list(quantiser.nodes),
        quantised,
        loss,
        lambda done, total: tell("nodes alone", done, total),
    )
    whole = dataclasses.replace(best, sensitivity=tuple(ranked))
    grades: dict[tuple[str, ...], Quantised] = {}
    for most in _GRADES:
        found = fewest_kept(ranked, quantised, loss, most)
        if found is not None:
            kept, graph, left = found
            grades[kept] = dataclasses.replace(whole, model=graph, kept=kept, loss=left)
    return tuple(grades.values()) or (whole,)


def _source(bundle: Bundle) -> Any:
    import onnx

    manifest = bundle.manifest
    if manifest.format != "onnx":
        raise InputError(
            f"{manifest.name} is an OpenVINO model: its graph cannot be written anew",
            expected="an ONNX model",
            fix="export the model to ONNX",
        )
    model = onnx.load(bundle.model_path)
    quantised = {"QuantizeLinear", "DynamicQuantizeLinear", "DequantizeLinear"}
    if any(node.op_type in quantised for node in model.graph.node):
        raise InputError(
            f"{manifest.name} is quantised already",
            expected="a model in float32",
            fix="build from the model that it was made from",
        )
    return named(model)


def _some(inputs: Inputs, chosen: Any) -> Inputs:
    transforms = tuple(t for t, wanted in zip(inputs.transforms, chosen, strict=False) if wanted)
    return Inputs(np.ascontiguousarray(inputs.batch[chosen]), transforms, inputs.sizes[chosen])
