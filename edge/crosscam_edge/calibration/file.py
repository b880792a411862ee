"""The file that a calibration is kept in: small JSON, bound to its model."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from crosscam_edge.associate.calibrate import BINS, ScoreModel
from crosscam_edge.associate.learned import Learned
from crosscam_edge.sinks.atomic import write_text
from crosscam_kernels.errors import InputError

SCHEMA_VERSION: Literal[1] = 1
_MAX_BYTES = 16 << 20
Spread = tuple[FiniteFloat, FiniteFloat]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scores(_Part):
    """Where the similarities of a kind of pairs lie; `associate.calibrate.ScoreModel` in JSON."""

    impostor: Spread
    genuine: Spread
    share: float = Field(gt=0, lt=1)
    threshold: float = Field(ge=-1, le=1)
    slope: FiniteFloat

    @model_validator(mode="after")
    def _spreads(self) -> Self:
        if not (self.impostor[1] > 0 and self.genuine[1] > 0):
            raise ValueError("a standard deviation is not positive")
        return self

    @classmethod
    def of(cls, model: ScoreModel) -> Self:
        """Copy a `ScoreModel`."""
        return cls(
            impostor=model.impostor,
            genuine=model.genuine,
            share=model.share,
            threshold=float(model.threshold),
            slope=model.slope,
        )

    def model(self) -> ScoreModel:
        """Return the `ScoreModel` that this was made from."""
        return ScoreModel(self.impostor, self.genuine, self.share, self.threshold, self.slope)


class CameraCast(_Part):
    """What all people have in common in a camera, and from how many that was told."""

    people: int = Field(ge=1)
    tracklets: int = Field(ge=1)
    shift: list[FiniteFloat] = Field(min_length=1)


class OperatingPoint(_Part):
    """Where pairs of two cameras are divided.

    `fmr` and `fnmr` are counted on the certain pairs; `fmr_across` and `fnmr_across` are those of
    the fitted scores of two cameras, which nobody has counted.
    """

    threshold: float = Field(ge=-1, le=1)
    chosen: Literal["learned", "fmr"]
    fmr: float = Field(ge=0, le=1)
    fnmr: float = Field(ge=0, le=1)
    fmr_across: float = Field(ge=0, le=1)
    fnmr_across: float = Field(ge=0, le=1)


class SiteCalibration(_Part):
    """The whole of `calibration.json`.

    `genuine` and `impostor` count certain pairs by similarity in 100 bins from -1 to 1: the two
    ends of a tracklet, and tracklets seen at once in one camera.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    crosscam_version: str
    created: datetime
    model_id: str = Field(min_length=1)
    run: str
    cameras: dict[str, CameraCast]
    operating_point: OperatingPoint
    impostors: Spread
    ends: FiniteFloat
    across: Scores
    within: Scores
    genuine: list[int] = Field(min_length=BINS, max_length=BINS)
    impostor: list[int] = Field(min_length=BINS, max_length=BINS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len({len(each.shift) for each in self.cameras.values()}) != 1:
            raise ValueError("the colour casts of the cameras differ in length")
        if min(*self.genuine, *self.impostor) < 0:
            raise ValueError("a count is negative")
        if self.impostors[1] <= 0:
            raise ValueError("a standard deviation is not positive")
        return self

    def learned(self) -> Learned:
        """Return it as association wants it."""
        names = tuple(sorted(self.cameras))
        point = self.operating_point
        return Learned(
            model_id=self.model_id,
            cameras=names,
            shift=np.array([self.cameras[name].shift for name in names], np.float64),
            people=np.array([self.cameras[name].people for name in names], np.float64),
            impostors=self.impostors,
            ends=self.ends,
            pairs=min(sum(self.genuine), sum(self.impostor)),
            across=self.across.model(),
            within=self.within.model(),
            least_threshold=point.threshold if point.chosen == "fmr" else None,
        )


def write_calibration(path: Path, calibration: SiteCalibration) -> None:
    """Write a calibration; whole or not at all.

    Raises:
        CrosscamError: The place cannot be written, or the disk is full.
    """
    write_text(path, calibration.model_dump_json(indent=1) + "\n")


def read_calibration(path: str | Path) -> SiteCalibration:
    """Read a calibration.

    Raises:
        InputError: It is missing, or is no calibration.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(f"{file} is too large for a calibration", expected="at most 16 MiB")
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the calibration {file} cannot be read ({error})",
            expected="a file that `crosscam calibrate` wrote",
        ) from error
    try:
        return SiteCalibration.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{file} is no calibration: {where}: {first['msg']}",
            expected="a file that this crosscam's `calibrate` wrote",
            fix="make it anew with crosscam calibrate",
        ) from error


def learned_from(path: str | Path | None, model_id: str) -> Learned | None:
    """Return what a calibration has to say of a model; None where none is given.

    Args:
        path: The file.
        model_id: The model of the run.

    Raises:
        InputError: The file is no calibration, or one of another model.
    """
    if path is None:
        return None
    learned = read_calibration(path).learned()
    learned.require(model_id)
    return learned
