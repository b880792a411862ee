"""What a model file says about itself: names and shapes of inputs and outputs, metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from crosscam_deploy.graph_safety import check_safe
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

Shape = tuple[int | None, ...]
"""Sizes of a tensor; None where any size is taken."""


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """Inputs, outputs and metadata of a graph.

    Attributes:
        format: ``"onnx"`` or ``"openvino"``.
        inputs: Shape by name, in order.
        outputs: Shape by name, in order.
        metadata: Key-value pairs the exporter left, ultralytics' class names for example.
    """

    format: Literal["onnx", "openvino"]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    metadata: dict[str, str] = field(default_factory=dict)


def inspect(path: Path) -> GraphInfo:
    """Read a graph's signature without preparing it for inference.

    Args:
        path: ``.onnx`` file or OpenVINO ``.xml`` with its ``.bin`` beside it.

    Raises:
        InputError: Another kind of file, a damaged one, or one that `check_safe` refuses.
        RunError: OpenVINO is needed and not installed.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"there is no file {path}", fix="check the path")
    if suffix == ".onnx":
        return _inspect_onnx(path)
    if suffix == ".xml":
        return _inspect_openvino(path)
    raise InputError(
        f"{path.name} is not a model file that crosscam reads",
        expected="an .onnx file, or an OpenVINO .xml with its .bin",
        fix="export the model to ONNX first (PyTorch checkpoints cannot be run without their code)",
    )


def _inspect_onnx(path: Path) -> GraphInfo:
    from crosscam_deploy.runtime.onnxruntime_engine import free_or_size, session

    check_safe(path)
    opened = session(path, threads=1, optimise=False)
    return GraphInfo(
        format="onnx",
        inputs={i.name: tuple(map(free_or_size, i.shape)) for i in opened.get_inputs()},
        outputs={o.name: tuple(map(free_or_size, o.shape)) for o in opened.get_outputs()},
        metadata=dict(opened.get_modelmeta().custom_metadata_map),
    )


def _inspect_openvino(path: Path) -> GraphInfo:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(
            f"{path.name} has no weights beside it",
            expected=f"{weights.name} in the same folder",
            fix="copy both files of the OpenVINO model",
        )
    try:
        from crosscam_deploy.runtime import openvino_graph

        model = openvino_graph.read(path)
    except ImportError as error:
        raise RunError(
            "this model is in OpenVINO's format and openvino is not installed",
            fix="pip install openvino, or use an ONNX model",
        ) from error
    return GraphInfo(
        format="openvino",
        inputs={
            openvino_graph.name_of(port, f"input{i}"): tuple(openvino_graph.shape_of(port))
            for i, port in enumerate(model.inputs)
        },
        outputs={
            openvino_graph.name_of(port, f"output{i}"): tuple(openvino_graph.shape_of(port))
            for i, port in enumerate(model.outputs)
        },
    )


def observe(path: Path, graph: GraphInfo, size: tuple[int, int]) -> GraphInfo:
    """Run a graph once on a black image to learn output sizes that it leaves open.

    Args:
        path: The file that `graph` was read from.
        graph: Its signature; must have one image input.
        size: ``(height, width)`` of the image in pixels.

    Returns:
        The signature with the sizes seen (the batch stays free); `graph` itself when it names all.
    """
    if all(None not in shape[1:] and shape for shape in graph.outputs.values()):
        return graph
    import numpy as np

    name, shape = next(iter(graph.inputs.items()))
    image = np.zeros((shape[0] or 1, 3, *size), np.float32)
    if graph.format == "onnx":
        from crosscam_deploy.runtime.onnxruntime_engine import session

        seen = session(path).run(None, {name: image})
    else:
        from crosscam_deploy.runtime import openvino_graph

        compiled = openvino_graph.core().compile_model(openvino_graph.read(path), "CPU")
        seen = list(compiled(image).values())
    outputs: dict[str, Shape] = {
        output: (before[0] if before else None, *array.shape[1:])
        for (output, before), array in zip(graph.outputs.items(), seen, strict=True)
    }
    return GraphInfo(graph.format, graph.inputs, outputs, graph.metadata)
