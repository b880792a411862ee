"""`Manifest`: everything a runtime must know about a model before it may run it.

A bundle is a folder (or a zip of it) with the model's files and one ``manifest.json``. Nothing runs
without a manifest, and every file's sha256 is checked before it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    field_validator,
    model_validator,
)

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _safe_relative(name: str) -> str:
    """Refuse names that could reach outside the bundle."""
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    if unsafe or "\0" in name or name != str(path) or name in (".", "", MANIFEST_NAME):
        raise ValueError(f"{name!r} is not a plain relative file name")
    return name


BundleFile = Annotated[str, AfterValidator(_safe_relative)]


class Strict(BaseModel):
    """Base of all manifest parts: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocessing(Strict):
    """How an image becomes the model's input, exactly as in training.

    Value of an input element: ``(pixel * scale - mean[c]) / std[c]`` with `pixel` in 0..255 and `c`
    in the model's channel order.
    """

    height: int = Field(gt=0, le=8192, description="input height in pixels")
    width: int = Field(gt=0, le=8192, description="input width in pixels")
    color: Literal["rgb", "bgr"] = Field(description="channel order of the input")
    scale: FiniteFloat = Field(default=1.0, gt=0, description="factor on 0..255 pixel values")
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.0, 0.0, 0.0)
    std: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (1.0, 1.0, 1.0)
    fit: Literal["stretch", "letterbox", "letterbox_topleft"] = "stretch"
    pad_value: int = Field(default=114, ge=0, le=255, description="letterbox colour")
    filter: Literal["bilinear", "bilinear_antialias"] = "bilinear_antialias"

    @field_validator("std")
    @classmethod
    def _std_is_positive(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(math.isfinite(value) and value > 0 for value in std):
            raise ValueError(f"std {std} must be positive")
        return std


class Decoder(Strict):
    """How a detector's raw outputs become boxes."""

    kind: Literal["yolox", "yolo_raw", "end2end", "detr"]
    person_class: int = Field(default=0, ge=0, description="class index of a person")
    num_classes: int = Field(default=80, ge=1)
    strides: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(8, 16, 32), min_length=1, description="yolox grid strides"
    )
    nms_iou: float = Field(default=0.65, gt=0, le=1, description="IoU above which NMS suppresses")
    activation: Literal["none", "sigmoid", "softmax"] = Field(
        default="sigmoid", description="what turns detr logits into scores"
    )

    @model_validator(mode="after")
    def _person_is_a_class(self) -> Self:
        if self.person_class >= self.num_classes:
            raise ValueError(
                f"person_class {self.person_class} is not one of {self.num_classes} classes"
            )
        return self


GraphPrecision = Literal["f32", "f16", "bf16", "fp8", "int8", "mixed"]
"""Numbers that a graph was written for; ``mixed``: int8 or fp8 but for some nodes, which stayed
float."""


class EngineFor(Strict):
    """How TensorRT makes engines of a model on the boxes that it was built for."""

    buckets: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        min_length=1, max_length=16, description="numbers of pictures to have profiles for, rising"
    )
    hardware: Literal["this", "same-capability", "ampere-and-later"] = Field(
        default="this", description="GPUs that an engine runs on, other than that it is made on"
    )
    version_compatible: bool = Field(default=False, description="also on later versions")
    plans: tuple[Sha256, ...] = Field(
        default=(),
        max_length=64,
        description="sha256 of the engines that are kept beside the bundle; no others are loaded",
    )

    @field_validator("buckets")
    @classmethod
    def _rising(cls, buckets: tuple[int, ...]) -> tuple[int, ...]:
        if list(buckets) != sorted(set(buckets)):
            raise ValueError(f"buckets {buckets} must rise")
        return buckets


class RunWith(Strict):
    """How a built model runs best on its target."""

    runtime: Literal["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]
    precision: Literal["f32", "bf16"] = Field(description="of what the graph leaves in float")
    measured: bool = Field(
        default=True,
        description="whether it was compared and timed in this runtime; false: built for a box "
        "that was not at hand, and only its graph was compared",
    )
    engine: EngineFor | None = Field(default=None, description="for TensorRT")


class Manifest(Strict):
    """Contents of ``manifest.json``."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    task: Literal["detect", "embed"]
    format: Literal["onnx", "openvino"]
    model_file: BundleFile = Field(description="the graph, relative to the bundle")
    files: dict[BundleFile, Sha256] = Field(
        max_length=64, description="sha256 of every file of the bundle but this one"
    )
    input_name: str
    output_names: tuple[str, ...] = Field(min_length=1)
    dynamic_batch: bool = Field(description="whether the graph takes any batch size")
    preprocessing: Preprocessing
    decoder: Decoder | None = None
    embedding_dim: int | None = Field(default=None, gt=0)
    licence: str
    source: str = Field(description="where the weights come from")
    training: str = ""
    accuracy: dict[str, float] = Field(default_factory=dict)
    thresholds: dict[str, float] = Field(default_factory=dict)
    precision: GraphPrecision = "f32"
    float_nodes: int = Field(default=0, ge=0, description="nodes of a mixed graph that stay float")
    built_from: Sha256 | None = Field(
        default=None, description="model_id of the model that `crosscam build` made it from"
    )
    run_with: RunWith | None = Field(
        default=None, description="what `auto` means for it, where that engine is installed"
    )
    model_id: Sha256 = Field(description="identity of the embedding space / detector")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.model_file not in self.files:
            raise ValueError(f"model_file {self.model_file!r} has no sha256 in files")
        if self.task == "detect" and self.decoder is None:
            raise ValueError("a detector needs a decoder")
        if self.task == "embed" and self.embedding_dim is None:
            raise ValueError("an embedder needs embedding_dim")
        return self

    def computed_model_id(self) -> str:
        """Return the model id that follows from the content: see `compute_model_id`."""
        return compute_model_id(
            task=self.task,
            files=self.files,
            output_names=self.output_names,
            preprocessing=self.preprocessing,
            decoder=self.decoder,
        )

    def digest(self) -> str:
        """Return the sha256 of all that it says, and so, by its hashes, of the bundle."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def compute_model_id(
    *,
    task: str,
    files: dict[str, str],
    output_names: tuple[str, ...],
    preprocessing: Preprocessing,
    decoder: Decoder | None,
) -> str:
    """Return the sha256 that names a model.

    It covers everything that changes the numbers that come out (weights, outputs read, pre- and
    post-processing) and nothing that does not (name, licence, measured accuracy): two bundles
    with one id may have their embeddings compared, others never.
    """
    content = {
        "task": task,
        "files": sorted(files.values()),
        "outputs": list(output_names),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "decoder": decoder.model_dump(mode="json") if decoder else None,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
