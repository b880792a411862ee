"""`Manifest`: everything a runtime must know about a model before it may run it.

A bundle is a folder (or a zip of it) with the model's files and one ``manifest.json``. Nothing runs
without a manifest, and every file's sha256 is checked before it is loaded.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Base of all manifest parts: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocessing(Strict):
    """How an image becomes the model's input, exactly as in training.

    Value of an input element: ``(pixel * scale - mean[c]) / std[c]`` with `pixel` in 0..255 and `c`
    in the model's channel order.
    """

    height: int = Field(gt=0, description="input height in pixels")
    width: int = Field(gt=0, description="input width in pixels")
    color: Literal["rgb", "bgr"] = Field(description="channel order of the input")
    scale: float = Field(default=1.0, gt=0, description="factor on 0..255 pixel values")
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Literal["stretch", "letterbox", "letterbox_topleft"] = "stretch"
    pad_value: int = Field(default=114, ge=0, le=255, description="letterbox colour")
    filter: Literal["bilinear", "bilinear_antialias"] = "bilinear_antialias"


class Decoder(Strict):
    """How a detector's raw outputs become boxes."""

    kind: Literal["yolox", "yolo_raw", "end2end", "detr"]
    person_class: int = Field(default=0, ge=0, description="class index of a person")
    num_classes: int = Field(default=80, ge=1)
    strides: tuple[int, ...] = Field(default=(8, 16, 32), description="yolox grid strides")
    nms_iou: float = Field(default=0.65, gt=0, le=1, description="IoU above which NMS suppresses")


class Manifest(Strict):
    """Contents of ``manifest.json``."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    task: Literal["detect", "embed"]
    format: Literal["onnx", "openvino"]
    model_file: str = Field(description="the graph, relative to the bundle")
    files: dict[str, Sha256] = Field(description="sha256 of every file of the bundle but this one")
    input_name: str
    output_names: tuple[str, ...]
    dynamic_batch: bool = Field(description="whether the graph takes any batch size")
    preprocessing: Preprocessing
    decoder: Decoder | None = None
    embedding_dim: int | None = Field(default=None, gt=0)
    licence: str
    source: str = Field(description="where the weights come from")
    training: str = ""
    accuracy: dict[str, float] = Field(default_factory=dict)
    thresholds: dict[str, float] = Field(default_factory=dict)
    model_id: Sha256 = Field(description="identity of the embedding space / detector")
