"""The graph in fewer bits that loses least: how it is written, and which nodes stay float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from crosscam_deploy.log import get_logger
from crosscam_deploy.precision.judge import Judge
from crosscam_deploy.precision.loss import Limits
from crosscam_deploy.precision.quantiser import OPSETS, quantisable
from crosscam_deploy.precision.rewriting import named
from crosscam_deploy.precision.search_pairs import search_pairs
from crosscam_deploy.precision.search_types import search_types
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.precision.eight_bits import Numbers
    from crosscam_deploy.precision.found import Lowered, Tell, Wanted
    from crosscam_deploy.verify.answers import Inputs

_log = get_logger("precision")
Engine = Literal["cpu", "tensorrt"]
# Of embeddings, of the gates' mean cosine .995 and worst .9, with room for other pictures; of boxes
# by what passes the gates on average precision.
LIMITS = {"embed": Limits(mean=0.004, worst=0.08), "detect": Limits(mean=0.06, worst=0.5)}


def search(
    bundle: Bundle,
    inputs: Inputs,
    *,
    precision: Wanted = "int8",
    engine: Engine = "cpu",
    limits: Limits | None = None,
    progress: Tell | None = None,
) -> tuple[Lowered, ...]:
    """Write a bundle's graph in fewer bits so that its answers stay.

    All ways of writing it are tried on pictures that nothing follows from. When none keeps the
    limits, each node is tried alone, and as few of the worst as possible stay float.

    Args:
        bundle: A float32 ONNX model.
        inputs: Pictures for calibration, at least 8.
        precision: ``int8`` or ``fp8`` (Q/DQ pairs), ``f16`` or ``bf16`` (types that a GPU computes
            in).
        engine: What will run it: ``tensorrt`` takes signed numbers with the zero in the middle, and
            what stays float is in float16. All precisions but int8 are for it alone.
        limits: Most that may be lost; those of the task if not given.
        progress: Called with what is done, and how many steps are done of how many.

    Returns:
        The whole graph where that keeps the limits; else graphs with ever more nodes in float, of
        which a verification chooses. When even half of all nodes in float are not enough, the whole
        graph with its loss above 1.

    Raises:
        InputError: Not a float ONNX graph, nothing in it to lower, or too few pictures.
    """
    tell = progress or (lambda what, done, total: None)
    allowed = limits or LIMITS[bundle.manifest.task]
    if precision == "f16" or precision == "bf16":
        model = _source(bundle, 13 if precision == "f16" else 22)
        judge = Judge(bundle, model, inputs, allowed)
        found = search_types(model, judge, precision, tell)
    else:
        numbers: Numbers = "fp8" if precision == "fp8" else "int8"
        if precision == "int8" and engine == "cpu":
            numbers = "uint8"
        model = _source(bundle, OPSETS[numbers])
        _check_quantisable(bundle, model, numbers)
        judge = Judge(bundle, model, inputs, allowed)
        found = search_pairs(model, judge, numbers, tell)
    _log.info(
        "graphs in fewer bits",
        model=bundle.manifest.name,
        precision=precision,
        losses=found[0].tried,
        worst=found[0].sensitivity[:5],
    )
    return found


def _check_quantisable(bundle: Bundle, model: Any, numbers: Numbers) -> None:
    if quantisable(model, numbers):
        return
    wide = " of multiples of 16 channels" if numbers == "fp8" else ""
    raise InputError(
        f"{bundle.manifest.name} has no convolution{wide} or product with constant weights",
        expected="a float network",
        fix="leave int8 and fp8 out: --precision f32",
    )


def _source(bundle: Bundle, opset: int) -> Any:
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
    return named(model, opset)
