"""`Recipe`: everything that decides a training run, as one YAML file plus ``key=value`` overrides.

A run's folder holds its recipe as it was resolved, so that it can be repeated; `crosscam train`
refuses to resume with another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.wrong_keys import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

Share = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[float, float, float]
Kind = TypeVar("Kind", bound=BaseModel)


class Strict(BaseModel):
    """Base of all parts: immutable, unknown keys are errors, defaults are checked too."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DataRecipe(Strict):
    """Which pictures, and which of their labels."""

    path: Path = Field(description="folder of the data set")
    kind: str | None = Field(
        default=None, description="as `crosscam data check --kind`; None recognises it"
    )
    pattern: str | None = Field(default=None, description="path pattern of a generic data set")
    train_share: Share = Field(default=0.5, description="of the people of a generic set")
    split_seed: NonNegativeInt = 0
    query: Literal["one", "all", "cameras"] = Field(
        default="one", description="which test pictures of a generic set are queries"
    )
    query_cameras: tuple[str, ...] = ()
    labels: Literal["global", "intra"] = Field(
        default="global", description="'intra': forget who is the same person in two cameras"
    )
    masks: Path | None = Field(
        default=None, description="folder of clothes masks; 'box': one rectangle, of no file"
    )
    mask_labels: Literal["clothes", "lip"] = Field(
        default="clothes", description="what their numbers mean: 1 for clothes, or the LIP classes"
    )
    licence: str = Field(
        default="not stated", description="licence or terms of the pictures, for the model card"
    )


class AugmentationRecipe(Strict):
    """As `data.transforms.Augmentation`, with the strengths of `data.cameras.OtherCamera`."""

    flip: Share = 0.5
    pad: NonNegativeInt = 10
    erase: Share = 0.5
    erase_fill: Literal["mean", "noise"] = "mean"
    jitter: Share = 0.0
    brightness: NonNegativeFloat = 0.2
    contrast: NonNegativeFloat = 0.15
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    grey: Share = 0.0
    box: Annotated[float, Field(ge=0, le=0.4)] = Field(
        default=0.0, description="share of the picture's side by which edges of the box move"
    )
    cast: NonNegativeFloat = Field(
        default=0.0, description="spread of the logarithm of white balance and exposure"
    )
    gamma: NonNegativeFloat = Field(default=0.0, description="spread of the logarithm of gamma")
    chroma: NonNegativeFloat = Field(
        default=0.0, description="spread of the logarithm of saturation, and of the hue in radians"
    )
    shrink: Share = Field(default=0.0, description="share of pictures that lose resolution")
    noise: NonNegativeFloat = Field(default=0.0, description="most noise, in grey levels")
    coded: Share = Field(default=0.0, description="share of pictures that go through JPEG")


class ModelRecipe(Strict):
    """Towers, heads, and how pictures become inputs."""

    tower: str = Field(
        default="RN50", description="an open_clip name, or one of crosscam's small ones"
    )
    weights: str | None = Field(
        default=None, description="a checkpoint's path, 'hub', 'hub:TAG' or None: random"
    )
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: tuple[PositiveInt, PositiveInt] = Field(default=(256, 128), description="height, width")
    interpolation: Literal["bicubic", "bilinear"] = Field(
        default="bilinear",
        description="papers say bicubic; bilinear is what crosscam's edge computes",
    )
    mean: Colour = (0.485, 0.456, 0.406)
    std: Colour = (0.229, 0.224, 0.225)
    pooling: Literal["gem", "max_avg", "own"] = Field(
        default="gem",
        description="of the last feature map: GeM (CCAFL); maximum beside mean, twice as long "
        "(CAL); own: the tower's summary (CLIP-ReID)",
    )
    embedding: Literal["final_bn", "joint_bn", "concat"] = "final_bn"
    stride: PositiveInt | None = Field(
        default=None,
        description="pixels between cells of the last feature map; below the patch's size, patches "
        "overlap; None: 16 for ResNets and crosscam's small towers, else as published",
    )
    camera_embedding: NonNegativeFloat = Field(default=0.0, description="weight of SIE; 0: none")
    keep_statistics: bool = Field(
        default=False,
        description="batch norm of the tower keeps the running means and variances of its weights: "
        "those of few people in the clothes of one day suit nobody else; nothing without weights",
    )
    whiten: PositiveFloat | None = Field(
        default=None,
        description="the embedding is whitened by its covariance inside the labels of the training "
        "split, to which so many times the mean variance is added, where labels left out in turn "
        "are found better so; needs `final_bn`; None: it is not",
    )

    @model_validator(mode="after")
    def _whitens_what_is_extracted(self) -> Self:
        if self.whiten is not None and self.embedding != "final_bn":
            raise ValueError(f"whiten needs embedding final_bn, not {self.embedding}")
        return self


class OptimiserRecipe(Strict):
    """One optimiser and its schedule; epochs count within the stage."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 3.5e-4
    weight_decay: NonNegativeFloat = 5e-4
    momentum: Share = 0.9
    bias_lr: PositiveFloat = Field(default=2.0, description="factor on the rate of biases")
    warmup_epochs: NonNegativeFloat = 0.0
    warmup_from: Share = Field(default=0.01, description="first factor of the linear warm-up")
    schedule: Literal["constant", "steps", "cosine"] = "steps"
    milestones: tuple[PositiveInt, ...] = Field(default=(40, 50), description="epochs of the steps")
    gamma: PositiveFloat = 0.1
    final_lr: NonNegativeFloat = Field(default=1e-6, description="end of the cosine")
    clip_norm: PositiveFloat | None = Field(
        default=None, description="largest norm of the gradient"
    )


class BatchRecipe(Strict):
    """Training batches, over all devices together."""

    people: PositiveInt = 16
    pictures: PositiveInt = Field(default=8, description="of each person")
    iterations: PositiveInt | None = Field(
        default=None, description="batches an epoch; None: one pass"
    )
    accumulate: PositiveInt = Field(default=1, description="batches whose gradients make one step")


class LoopRecipe(Strict):
    """How the run is carried out; changes speed and safety, not what is learned."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    precision: Literal["32", "bf16", "fp16"] = "32"
    workers: NonNegativeInt = 2
    compile: bool = Field(default=False, description="torch.compile the image tower")
    channels_last: bool = Field(
        default=False, description="keep feature maps pixel by pixel; faster in bf16 and fp16"
    )
    keep: bool = Field(
        default=False, description="keep decoded training pictures in memory (of each worker)"
    )
    checkpoint_minutes: PositiveFloat = Field(
        default=5.0, description="most work that a kill can cost"
    )


class EvaluationRecipe(Strict):
    """When and on what the model is judged during the run."""

    every: PositiveInt = Field(default=10, description="epochs; the last one is always judged")
    split: Literal["val", "test"] = Field(
        default="val",
        description="'test' makes the best epoch one that was chosen on the test set, and says so; "
        "sets without a val split are judged on 'test'",
    )
    patience: PositiveInt | None = Field(
        default=None,
        description="evaluations without a better mAP until the stage ends; None: never",
    )
    flip: bool = Field(default=False, description="average with the mirrored picture's embedding")
    rerank: bool = False
    probes: bool = Field(
        default=False,
        description="also measure how well linear probes read cameras and clothes from embeddings",
    )
    batch_size: PositiveInt = 128


class Recipe(Strict):
    """A whole run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    data: DataRecipe
    model: ModelRecipe = ModelRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    method: dict[str, Any] = Field(description="`name`, and the options of that method")
    batch: BatchRecipe = BatchRecipe()
    loop: LoopRecipe = LoopRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    licence: str = Field(
        default="not stated",
        description="licence of the trained weights, which follows from data and first weights",
    )

    @model_validator(mode="after")
    def _method_has_a_name(self) -> Self:
        if not isinstance(self.method.get("name"), str):
            raise ValueError("method needs a name, such as ccafl")
        return self


BUILT_IN = Path(__file__).parent / "recipes"
"""Folder of the recipes that come with crosscam."""


def find_recipe(name: str) -> Path:
    """Return the file of a recipe.

    Args:
        name: Path of a YAML file, or name of a built-in recipe.

    Raises:
        UsageError: There is no such file and no such name.
    """
    return find_in(BUILT_IN, name)


def find_in(folder: Path, name: str) -> Path:
    """Return the file of a recipe: a path, or a name in a folder of built-in ones.

    Raises:
        UsageError: There is no such file and no such name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise UsageError(
            f"no recipe {name!r}",
            expected=f"the path of a YAML file, or one of {known}" if known else "a YAML file",
        )
    return path


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML file.
        overrides: ``key.of.part=value``, where the value is YAML; a pattern needs no quotes.

    Raises:
        InputError: The file cannot be read, or is no recipe; names each wrong key.
        UsageError: An override is no ``key=value``.
    """
    return load_as(Recipe, path, overrides, "docs/reference/recipes.md")


def load_as(kind: type[Kind], path: Path, overrides: Sequence[str], page: str) -> Kind:
    """Read a recipe of some kind, whose keys a page of the documentation lists.

    Raises:
        InputError: The file cannot be read, or is no recipe; names each wrong key.
        UsageError: An override is no ``key=value``.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path}: {error}", expected="a readable YAML file", fix="see docs/guides/train.md"
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}", expected="keys and values")
    for override in overrides:
        _override(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(
            f"{path}: {explain(kind, error)}", expected=f"the keys of {page}"
        ) from error


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise UsageError(f"override {override!r}", expected="key=value, such as batch.people=8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if not text.startswith("{"):
            raise UsageError(f"override {override!r}: {error}", expected="a YAML value") from error
        value = text  # data.pattern={person}/{camera}_{view}.png; other keys refuse a text
    for part in parts[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise UsageError(f"override {override!r}: {part} is a value", expected="a key of keys")
    values[parts[-1]] = value
