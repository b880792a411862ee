"""Pictures to calibrate with: others than those that the result is judged on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.runtime.base import native_size
from crosscam_deploy.verify.answers import Inputs, inputs_of
from crosscam_deploy.verify.data import CropSet, FrameSet, VerifyData
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle

MOST_PICTURES = 300
_MOST_BYTES = 256 << 20
_AT_ONCE = 16


def divide(data: VerifyData, share: float, seed: int = 0) -> tuple[tuple[Path, ...], VerifyData]:
    """Take some pictures for calibration away from those that are judged on.

    Of labelled crops whole people are taken, so that nobody is in both parts; of others single
    ones; of frames the first of each set, as neighbours in time are nearly the same picture.

    Args:
        data: Crops or frames.
        share: Of people or pictures, in (0, 1).
        seed: Of the draw.

    Returns:
        Files to calibrate with, and what is left.

    Raises:
        InputError: A part would be empty.
    """
    rng = np.random.default_rng(seed)
    taken: list[Path] = []
    crop_sets, frame_sets = [], []
    for crops in data.crops:
        names = [c.person if crops.labelled else str(k) for k, c in enumerate(crops.crops)]
        people = sorted({name for name in names if name is not None})
        drawn = set(rng.permutation(people)[: max(round(share * len(people)), 1)].tolist())
        taken += [c.path for c, name in zip(crops.crops, names, strict=True) if name in drawn]
        left = tuple(c for c, name in zip(crops.crops, names, strict=True) if name not in drawn)
        crop_sets.append(CropSet(crops.name, left))
    for frames in data.frames:
        count = max(round(share * len(frames.frames)), 1)
        taken += frames.frames[:count]
        frame_sets.append(_after(frames, count))
    rest = VerifyData(tuple(crop_sets), tuple(frame_sets))
    if not taken or not all(len(each.crops) for each in rest.crops) or not rest.files():
        raise InputError(
            f"{len(data.files())} pictures cannot be divided into some to calibrate with and some "
            "to judge on",
            expected="several people, or many frames",
            fix="give more pictures, or others to calibrate with by --calibration",
        )
    return tuple(taken), rest


def _after(frames: FrameSet, count: int) -> FrameSet:
    return FrameSet(
        frames.name,
        frames.frames[count:],
        None if frames.truth is None else frames.truth[count:],
        None if frames.ignored is None else frames.ignored[count:],
    )


def load(bundle: Bundle, files: Sequence[Path], *, seed: int = 0) -> Inputs:
    """Read pictures as a model takes them.

    Args:
        bundle: Of the model.
        files: Any number; `MOST_PICTURES` of them are drawn, fewer where a model's input is large.
        seed: Of the draw.

    Raises:
        InputError: There are none, or one cannot be read.
    """
    if not files:
        raise InputError("there are no pictures to calibrate with", fix="give --calibration FOLDER")
    size = native_size(bundle)
    most = max(min(MOST_PICTURES, _MOST_BYTES // (12 * size[0] * size[1])), _AT_ONCE)
    order = np.random.default_rng(seed).permutation(len(files))[:most]
    chosen = [files[k] for k in sorted(order.tolist())]
    parts = [
        inputs_of(bundle, chosen[k : k + _AT_ONCE], size) for k in range(0, len(chosen), _AT_ONCE)
    ]
    return Inputs(
        np.concatenate([part.batch for part in parts]),
        tuple(transform for part in parts for transform in part.transforms),
        np.concatenate([part.sizes for part in parts]),
    )
