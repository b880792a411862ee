"""Foreign ONNX and OpenVINO files into bundles: recognise the family, ask for the rest, try it."""

from __future__ import annotations

import ast
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from crosscam_deploy.decode import decode, grid_size
from crosscam_deploy.graph import GraphInfo, inspect, observe
from crosscam_deploy.log import get_logger
from crosscam_deploy.manifest import Decoder, Preprocessing
from crosscam_deploy.packing import embedding_length, pack
from crosscam_deploy.preprocess import preprocess
from crosscam_deploy.runtime import open_runtime
from crosscam_kernels.errors import CrosscamError, InputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle

_log = get_logger("importer")
Family = Literal["yolox", "yolo_raw", "end2end", "detr"]
Normalise = Literal["none", "unit", "imagenet", "clip"]
_STRIDES = (8, 16, 32)
_UNIT = 1 / 255
_MEAN_STD: dict[Normalise, tuple[float, tuple[float, float, float], tuple[float, float, float]]] = {
    "none": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "unit": (_UNIT, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": (_UNIT, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": (
        _UNIT,
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a graph does not say; None where it shall be found out or asked for.

    Attributes:
        name: Name of the bundle; the file's name by default.
        color: Channel order of the input.
        normalise: Scaling of pixel values: ``none`` 0-255, ``unit`` 0-1, ``imagenet``, ``clip``.
        fit: How images are fitted into the input.
        size: ``(height, width)`` for graphs with a free input size.
        family: Head of a detector, when its shapes are ambiguous.
        person_class: Class index of a person.
        activation: What turns DETR logits into scores.
        licence: Licence of the weights.
        source: Where they come from.
        training: Data and recipe.
    """

    name: str | None = None
    color: Literal["rgb", "bgr"] | None = None
    normalise: Normalise | None = None
    fit: Literal["stretch", "letterbox", "letterbox_topleft"] | None = None
    size: tuple[int, int] | None = None
    family: Family | None = None
    person_class: int | None = None
    activation: Literal["none", "sigmoid", "softmax"] | None = None
    licence: str = "unknown"
    source: str = "imported"
    training: str = ""


def import_model(
    file: Path, task: Literal["detect", "embed"], target: Path, options: ImportOptions
) -> Bundle:
    """Make a bundle of a model file and run it once.

    Args:
        file: ``.onnx``, or OpenVINO ``.xml`` with its ``.bin`` beside it.
        task: What the model does.
        target: Folder of the new bundle.
        options: What the graph does not say.

    Returns:
        The bundle, verified by one inference.

    Raises:
        UsageError: Something that the graph does not say was not given; the message names the flag.
        InputError: Not a graph of a known family, or the run gave nonsense.
    """
    graph = inspect(file)
    height, width = _input_size(graph, file.name, options)
    graph = observe(file, graph, (height, width))
    if task == "detect":
        decoder, preprocessing = _detector(graph, height, width, file.name, options)
    else:
        embedding_length(graph, file.name)
        decoder, preprocessing = None, _embedder(height, width, file.name, options)
    files = {file.name: file}
    if graph.format == "openvino":
        weights = file.with_suffix(".bin")
        files[weights.name] = weights
    bundle = pack(
        target,
        name=options.name or bundle_name(file.stem),
        task=task,
        files=files,
        preprocessing=preprocessing,
        decoder=decoder,
        licence=_licence(graph, options),
        source=options.source,
        training=options.training,
        graph=graph,
    )
    return keep_if_it_runs(bundle)


def bundle_name(stem: str) -> str:
    """Return a file's stem as a manifest name: lower case, plain characters."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem.lower())
    return plain.lstrip("._-")[:80] or "model"


def keep_if_it_runs(bundle: Bundle) -> Bundle:
    """Return a new bundle after `verify`, or delete it and raise."""
    try:
        verify(bundle)
    except CrosscamError:
        shutil.rmtree(bundle.path, ignore_errors=True)
        raise
    return bundle


def verify(bundle: Bundle) -> None:
    """Run a bundle on three images and check that what comes out can be meant.

    Raises:
        InputError: Values that are not finite, a wrong shape, or an output that ignores the image.
        RunError: The engine failed.
    """
    manifest = bundle.manifest
    prep = manifest.preprocessing
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 16, 8, 3), dtype=np.uint8)
    noise = coarse.repeat(24, axis=1).repeat(24, axis=2)
    images = [np.full((384, 192, 3), 114, np.uint8), noise[0], noise[1]]
    batch, transforms = preprocess(images, prep)
    runtime = open_runtime(bundle, precision="f32")
    try:
        outputs = runtime.infer(batch)
    finally:
        runtime.close()
    for name, output in zip(manifest.output_names, outputs, strict=True):
        if not np.isfinite(output).all():
            raise InputError(
                f"the output {name!r} of {manifest.name} is not finite for a plain image",
                expected="finite numbers",
                fix="check --normalise and --color, or export the model in float32",
            )
    if manifest.decoder is not None:
        decode(outputs, manifest.decoder, transforms, (prep.height, prep.width), 0.01)
        return
    vectors = outputs[0].reshape(len(images), -1)
    if vectors.shape[1] != manifest.embedding_dim:
        raise InputError(
            f"{manifest.name} returned {vectors.shape[1]} numbers an image",
            expected=f"{manifest.embedding_dim}",
            fix="export the model so that its first output is the embedding",
        )
    if np.allclose(vectors[1], vectors[2], rtol=1e-4, atol=1e-7):
        raise InputError(
            f"{manifest.name} gives the same embedding for different images",
            expected="an embedding that depends on the image",
            fix="check --normalise, and that the right output is exported",
        )


def _input_size(graph: GraphInfo, file: str, options: ImportOptions) -> tuple[int, int]:
    if len(graph.inputs) != 1:
        raise InputError(
            f"{file} has {len(graph.inputs)} inputs: {', '.join(graph.inputs)}",
            expected="one image input",
            fix="export the model without inputs for post-processing (original image sizes)",
        )
    shape = next(iter(graph.inputs.values()))
    if len(shape) != 4 or shape[1] not in (3, None):
        raise InputError(
            f"the input of {file} has shape {shape}",
            expected="batch x 3 x height x width",
            fix="export the model with one image input in NCHW order",
        )
    height, width = shape[2], shape[3]
    if options.size is not None:
        if (height or options.size[0], width or options.size[1]) != options.size:
            raise UsageError(
                f"--size {options.size[0]}x{options.size[1]} does not fit {file}",
                expected=f"{height}x{width}, which the graph fixes",
                fix="leave --size away",
            )
        return options.size
    if height is None or width is None:
        raise UsageError(
            f"{file} takes images of any size",
            expected="the size it was trained for",
            fix="give --size HEIGHTxWIDTH, for example --size 640x640",
        )
    return height, width


def _embedder(height: int, width: int, file: str, options: ImportOptions) -> Preprocessing:
    missing = [
        flag
        for flag, value in (("--color", options.color), ("--normalise", options.normalise))
        if value is None
    ]
    if missing or options.color is None or options.normalise is None:
        raise UsageError(
            f"{file} does not say how crops are prepared for it",
            expected="channel order and scaling as in training: with the wrong ones it runs, and "
            "recognises people worse",
            fix=f"give {' and '.join(missing)} (torchreid, fast-reid: --color rgb --normalise "
            "imagenet; Open Model Zoo: --color bgr --normalise none; CLIP: --color rgb "
            "--normalise clip)",
        )
    return _preprocessing(
        height, width, options.color, options.normalise, options.fit or "stretch", detector=False
    )


def _preprocessing(
    height: int,
    width: int,
    color: Literal["rgb", "bgr"],
    normalise: Normalise,
    fit: Literal["stretch", "letterbox", "letterbox_topleft"],
    *,
    detector: bool,
) -> Preprocessing:
    scale, mean, std = _MEAN_STD[normalise]
    return Preprocessing(
        height=height,
        width=width,
        color=color,
        scale=scale,
        mean=mean,
        std=std,
        fit=fit,
        filter="bilinear" if detector else "bilinear_antialias",
    )


def _detector(
    graph: GraphInfo, height: int, width: int, file: str, options: ImportOptions
) -> tuple[Decoder, Preprocessing]:
    family = options.family or detect_family(graph, (height, width), file)
    classes = _class_count(graph, family)
    names = _class_names(graph)
    person = options.person_class
    if person is None:
        person = next((index for index, name in names.items() if name == "person"), None)
    if person is None:
        if classes not in (1, 80):
            raise UsageError(
                f"{file} knows {classes} classes and does not name them",
                expected="the index of the class of people",
                fix="give --person-class INDEX (COCO with 80 classes: 0, with 91: 1)",
            )
        person = 0
    if classes is not None and not 0 <= person < classes:
        raise UsageError(
            f"--person-class {person} is not a class of {file}",
            expected=f"0 to {classes - 1}",
            fix="give the index of the class of people",
        )
    activation = options.activation or "sigmoid"
    if family == "detr" and options.activation is None and len(graph.outputs) == 1:
        activation = "none"  # one output: exporters that join boxes and scores apply it
    decoder = Decoder(
        kind=family,
        person_class=person,
        num_classes=classes or max(80, person + 1),
        strides=_STRIDES,
        nms_iou=0.65 if family == "yolox" else 0.7,
        activation=activation,
    )
    defaults: dict[Family, tuple[Literal["rgb", "bgr"], Normalise, str]] = {
        "yolox": ("bgr", "none", "letterbox_topleft"),
        "yolo_raw": ("rgb", "unit", "letterbox"),
        "end2end": ("rgb", "unit", "letterbox"),
        "detr": ("rgb", "unit", "stretch"),
    }
    color, normalise, fit = defaults[family]
    if family == "detr" and options.normalise is None:
        _log.warning(
            "assuming pixel values 0-1 (RT-DETR, D-FINE); give --normalise imagenet for others",
            file=file,
        )
    prep = _preprocessing(
        height,
        width,
        options.color or color,
        options.normalise or normalise,
        options.fit or fit,  # type: ignore[arg-type]
        detector=True,
    )
    return decoder, prep


def detect_family(graph: GraphInfo, size: tuple[int, int], file: str) -> Family:
    """Recognise a detector's head by the shapes of its outputs.

    Args:
        graph: The graph's signature.
        size: ``(height, width)`` of its input in pixels.
        file: Name for the error message.

    Raises:
        InputError: The shapes belong to no family, or to more than one.
    """
    shapes = list(graph.outputs.values())
    if all(len(shape) == 3 for shape in shapes):
        if len(shapes) == 2 and sum(shape[2] == 4 for shape in shapes) == 1:
            return "detr"
        if len(shapes) == 1:
            matches = _single_output_families(graph, shapes[0], size)
            if len(matches) == 1:
                return matches[0]
    raise InputError(
        f"the outputs of {file} have shapes {shapes}, which fit no known detector alone",
        expected="YOLOX (1, anchors, 5+C), YOLO raw (1, 4+C, anchors), end-to-end (1, N, 6), or "
        "DETR-like logits and boxes",
        fix="export without post-processing, or name the head with --family if it is one of these",
    )


def _single_output_families(
    graph: GraphInfo, shape: tuple[int | None, ...], size: tuple[int, int]
) -> list[Family]:
    _, rows, columns = shape
    anchors = grid_size(size, _STRIDES)
    if columns == 6 and (rows is None or rows != anchors):
        return ["end2end"]
    if columns is not None and columns > 5 and rows == anchors:
        return ["yolox"]
    if rows is not None and rows > 4 and (columns is None or columns > rows):
        return ["yolo_raw"]
    # one row a query, 4 + C numbers: far fewer queries than anchors
    if columns is not None and columns > 6 and rows is not None and rows < anchors / 4:
        return ["detr"]
    return []


def _class_count(graph: GraphInfo, family: Family) -> int | None:
    shapes = list(graph.outputs.values())
    if family == "end2end":
        names = _class_names(graph)
        return max(names) + 1 if names else 80
    if family == "yolo_raw":
        return None if shapes[0][1] is None else shapes[0][1] - 4
    if family == "yolox":
        return None if shapes[0][2] is None else shapes[0][2] - 5
    if len(shapes) == 2:
        return next((shape[2] for shape in shapes if shape[2] != 4), None)
    return None if shapes[0][2] is None else shapes[0][2] - 4


def _class_names(graph: GraphInfo) -> dict[int, str]:
    """Read the class table that ultralytics writes into the metadata."""
    try:
        names = ast.literal_eval(graph.metadata.get("names", "{}"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # not ultralytics' form
        return {}
    if not isinstance(names, dict):
        return {}
    return {int(key): str(value) for key, value in names.items() if str(key).isdigit()}


def _licence(graph: GraphInfo, options: ImportOptions) -> str:
    if options.licence != "unknown":
        return options.licence
    return graph.metadata.get("license", "unknown")
