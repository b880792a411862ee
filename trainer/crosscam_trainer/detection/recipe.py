"""`DetectorRecipe`: everything that decides the training of a detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import model_validator as _model_validator

from crosscam_trainer.recipe import LoopRecipe, Share, Strict, find_in, load_as

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIDES = (8, 16, 32)
"""Pixels between cells of the three levels that people are looked for on."""
BUILT_IN = Path(__file__).parent / "recipes"

Size = tuple[PositiveInt, PositiveInt]


class DetectorData(Strict):
    """Which pictures."""

    path: Path = Field(description="folder with `annotations.json` (COCO) and its pictures")
    test_share: Share = Field(
        default=0.1, description="of the cameras, the last ones, kept for judging; or of pictures"
    )
    least_visible: Share = Field(
        default=0.3, description="people of whom less shows are neither wanted nor punished"
    )
    least_height: PositiveFloat = Field(
        default=12.0, description="the same for those who are smaller, in pixels of the input"
    )
    licence: str = Field(default="not stated", description="terms of the pictures, for the card")


class NetworkRecipe(Strict):
    """Widths and depths; see `network`."""

    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        default=(16, 24, 48, 80, 112), description="at strides 2, 4, 8, 16 and 32"
    )
    blocks: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = Field(
        default=(1, 2, 3, 2), description="residual blocks at strides 4, 8, 16 and 32"
    )
    neck: PositiveInt = Field(default=40, description="channels of pyramid and head")
    instance: NonNegativeInt = Field(
        default=2,
        description="first stages in which half of the channels are normalised by picture",
    )


class DetectorAugmentation(Strict):
    """What is done to training pictures; strengths of colour as in `data.cameras.OtherCamera`."""

    size: Size = Field(default=(256, 416), description="height, width; multiples of 32")
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.4, 1.5), description="factor on pictures, even on a scale of logarithms"
    )
    stretch: NonNegativeFloat = Field(
        default=0.1, description="spread of the logarithm of width over height"
    )
    mosaic: Share = Field(default=0.5, description="share of inputs that are made of four pictures")
    clutter: Share = Field(
        default=0.3, description="share that is strewn with pieces of other pictures' backgrounds"
    )
    flip: Share = 0.5
    blur: Share = Field(default=0.2, description="share that is out of focus or smeared")
    grey: Share = Field(default=0.1, description="share without colour, as cameras are by night")
    cast: NonNegativeFloat = 0.15
    gamma: NonNegativeFloat = 0.25
    chroma: NonNegativeFloat = 0.2
    shrink: Share = 0.3
    noise: NonNegativeFloat = 10.0
    coded: Share = 0.4

    @_model_validator(mode="after")
    def _fits_the_network(self) -> Self:
        if any(length % STRIDES[-1] for length in self.size):
            raise ValueError(f"size {self.size}: multiples of {STRIDES[-1]} pixels")
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {self.scale}: the smaller factor first")
        return self


class DetectorOptimiser(Strict):
    """AdamW with a linear warm-up and a cosine, over all steps."""

    steps: PositiveInt = 2000
    batch: PositiveInt = 16
    lr: PositiveFloat = 2e-3
    final_lr: NonNegativeFloat = 2e-5
    warmup: NonNegativeInt = Field(default=50, description="steps")
    weight_decay: NonNegativeFloat = 0.02
    clip_norm: PositiveFloat = 10.0
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.998, description="share that the running mean of the weights keeps at a step"
    )


class DetectorLosses(Strict):
    """Weights of the three losses; see `losses`."""

    box: NonNegativeFloat = 2.0
    quality: NonNegativeFloat = 0.5
    alpha: Share = Field(default=0.25, description="of the focal loss")
    gamma: NonNegativeFloat = Field(default=2.0, description="of the focal loss")


class DetectorEvaluation(Strict):
    """When the detector is judged, and on how large pictures."""

    every: PositiveInt = Field(default=500, description="steps; the last one is always judged")
    longest: PositiveInt = Field(default=640, description="longest side in pixels")
    pictures: PositiveInt = Field(default=200, description="at most, evenly spread")


class DetectorRecipe(Strict):
    """A whole run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")
    data: DetectorData
    network: NetworkRecipe = NetworkRecipe()
    augmentation: DetectorAugmentation = DetectorAugmentation()
    optimiser: DetectorOptimiser = DetectorOptimiser()
    losses: DetectorLosses = DetectorLosses()
    evaluation: DetectorEvaluation = DetectorEvaluation()
    loop: LoopRecipe = LoopRecipe()
    published: Size = Field(
        default=(384, 640), description="height and width of the input that the bundle names"
    )
    weights: Path | None = Field(default=None, description="weights of a run to start from")
    seed: NonNegativeInt = 0
    licence: str = Field(default="not stated", description="licence of the trained weights")

    @_model_validator(mode="after")
    def _published_fits(self) -> Self:
        if any(length % STRIDES[-1] for length in self.published):
            raise ValueError(f"published {self.published}: multiples of {STRIDES[-1]} pixels")
        if self.loop.devices != 1:
            raise ValueError("loop.devices: a detector is trained on one device")
        return self


def find_detector_recipe(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of a built-in one.

    Raises:
        UsageError: There is no such file and no such name.
    """
    return find_in(BUILT_IN, name)


def load_detector_recipe(path: Path, overrides: Sequence[str] = ()) -> DetectorRecipe:
    """Read a recipe; see `crosscam_trainer.recipe.load_recipe`.

    Raises:
        InputError: The file cannot be read, or is no recipe; names each wrong key.
        UsageError: An override is no ``key=value``.
    """
    return load_as(DetectorRecipe, path, overrides, "docs/reference/detector-recipes.md")
