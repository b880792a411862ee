"""A bundle's graph as a program of `torch.export`.

The program is made from the ONNX graph whenever it is needed, and never read from a file: torch's
own format holds Python's pickles and expressions that are evaluated, so a file of it could do
anything. A graph is only numbers and operators, looked at by `check_safe`, and its program consists
of the operators of `torch_operators`. A picture's size is fixed in it; the number of pictures is
free where it is free in the graph.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.resize_graph import resized
from crosscam_deploy.runtime.base import native_size
from crosscam_deploy.runtime.onnxruntime_engine import takes_any_size
from crosscam_deploy.runtime.torch_call import Call
from crosscam_deploy.runtime.torch_operators import run
from crosscam_kernels.errors import CrosscamError, InputError, MissingExtraError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

_EXAMPLES = 2  # torch.export takes a size of 1 for one that is always so


@dataclass(frozen=True, slots=True)
class Source:
    """What a program is made from.

    Attributes:
        name: Of the model, for messages.
        graph: Content of an ONNX file, checked.
        outputs: Names of the outputs that are wanted, in order.
        size: Height and width of the pictures in pixels.
        batch: Pictures that the graph takes at once; None for any number.
    """

    name: str
    graph: bytes
    outputs: tuple[str, ...]
    size: tuple[int, int]
    batch: int | None

    @property
    def sha256(self) -> str:
        """Of the graph."""
        return hashlib.sha256(self.graph).hexdigest()


def import_torch() -> Any:
    """Return torch.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("the torch runtime", "torch") from error
    return torch


def read_source(bundle: Bundle, size: tuple[int, int] | None = None) -> Source:
    """Read a bundle's graph, once, and check what was read.

    Args:
        bundle: In ONNX.
        size: Height and width to run at instead of the manifest's.

    Raises:
        InputError: Not ONNX, changed since the bundle was loaded, refused by `check_safe`, not what
            its manifest says, or does not take `size`.
    """
    manifest = bundle.manifest
    if manifest.format != "onnx":
        raise InputError(
            f"{manifest.name} is in the format {manifest.format}, torch cannot run it",
            expected="an ONNX bundle",
            fix="use --runtime openvino",
        )
    wanted = size or native_size(bundle)
    free = takes_any_size(bundle)  # after check_safe and check_graph
    if not free and wanted != native_size(bundle):
        return _source(bundle, resized(bundle, wanted), wanted)
    content = bundle.model_path.read_bytes()
    expected = manifest.files[manifest.model_file]
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(
            f"the graph of {manifest.name} was changed while it was open",
            expected=f"sha256 {expected}",
            fix="load the bundle again",
        )
    return _source(bundle, _with_weights(bundle, content), wanted)


def _source(bundle: Bundle, graph: bytes, size: tuple[int, int]) -> Source:
    import onnx

    manifest = bundle.manifest
    model = onnx.load_model_from_string(graph)
    image = next(each for each in model.graph.input if each.name == manifest.input_name)
    batch = image.type.tensor_type.shape.dim[0].dim_value or None
    return Source(manifest.name, graph, manifest.output_names, size, batch)


def _with_weights(bundle: Bundle, content: bytes) -> bytes:
    """Return a graph with what it keeps in other files of the bundle, whose hashes are checked."""
    if len(bundle.manifest.files) == 1:
        return content
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    for name, expected in bundle.manifest.files.items():
        found = hashlib.sha256((bundle.path / name).read_bytes()).hexdigest()
        if found != expected:
            raise InputError(
                f"{name} of {bundle.manifest.name} was changed while it was open",
                expected=f"sha256 {expected}",
                fix="load the bundle again",
            )
    model = onnx.load_model_from_string(content)
    load_external_data_for_model(model, str(bundle.model_path.parent))
    return bytes(model.SerializeToString())


def make_program(source: Source) -> Any:
    """Return a graph as a ``torch.export.ExportedProgram`` of one input `(B, 3, H, W)` float32.

    Raises:
        InputError: The graph has an operator that is not known, or uses it in another way.
        MissingExtraError: torch is not installed.
        RunError: torch cannot export it.
    """
    import onnx

    torch = import_torch()
    model = onnx.load_model_from_string(source.graph)
    network = _network(torch, model, source.outputs).eval()
    example = torch.zeros(source.batch or _EXAMPLES, 3, *source.size)
    shapes = None if source.batch else ({0: torch.export.Dim("batch", min=1)},)
    try:
        with torch.no_grad():
            return torch.export.export(network, (example,), dynamic_shapes=shapes)
    except CrosscamError:
        raise
    except Exception as error:  # any of torch's
        raise RunError(
            f"torch cannot export {source.name} ({type(error).__name__}: {_first_line(error)})",
            fix="use --runtime openvino or onnxruntime, and report the model",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]


def _network(torch: Any, model: Any, outputs: Sequence[str]) -> Any:
    """Return a ``torch.nn.Module`` that runs a graph's nodes one after the other."""
    from onnx import helper, numpy_helper

    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    constants: dict[str, NDArray[Any]] = {
        each.name: numpy_helper.to_array(each) for each in model.graph.initializer
    }
    nodes: list[tuple[Any, dict[str, Any]]] = []
    for node in _needed(model.graph.node, outputs):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"the torch runtime does not know the operator {node.op_type} of {node.domain}",
                expected="operators of ONNX itself",
                fix="use --runtime onnxruntime",
            )
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(attributes)
        else:
            nodes.append((node, attributes))
    given = next(i.name for i in model.graph.input if i.name not in constants)

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.places: dict[str, str] = {}
            for number, (name, value) in enumerate(constants.items()):
                if not _sizes(value):
                    self.places[name] = f"constant_{number}"
                    self.register_buffer(self.places[name], torch.tensor(value))

        def forward(self, images: Any) -> tuple[Any, ...]:
            values: dict[str, Any] = {"": None, given: images}
            values |= {n: v.tolist() for n, v in constants.items() if n not in self.places}
            values |= {name: getattr(self, place) for name, place in self.places.items()}
            for node, attributes in nodes:
                call = Call(
                    torch=torch,
                    op=node.op_type,
                    opset=opset,
                    values=tuple(values[name] for name in node.input),
                    fixed=tuple(constants.get(name) for name in node.input),
                    attributes=attributes,
                    outputs=len(node.output),
                )
                values.update(zip(node.output, run(call), strict=False))
            return tuple(values[name] for name in outputs)

    return Network()


def _sizes(value: NDArray[Any]) -> bool:
    """Whether a constant can be sizes, axes or places: those stay Python's."""
    return value.ndim <= 1 and np.issubdtype(value.dtype, np.integer)


def _constant(attributes: dict[str, Any]) -> NDArray[Any]:
    from onnx import numpy_helper

    (kind, value), *_ = attributes.items()
    if kind == "value":
        return np.asarray(numpy_helper.to_array(value))
    dtype = np.float32 if "float" in kind else np.int64
    return np.asarray(value, dtype)


def _needed(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """Return the nodes that the outputs follow from, in order."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]
