"""The options that say which pictures a model is judged or calibrated on."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crosscam_deploy.verify import VerifyData

Function = TypeVar("Function", bound="Callable[..., Any]")
_PATH = click.Path(path_type=Path)
MOST_CROPS = 2000
MOST_FRAMES = 100


class PictureOptions(NamedTuple):
    """The values of `picture_options`, of the same names."""

    crops: tuple[Path, ...]
    pattern: str | None
    frames: tuple[Path, ...]
    truth: tuple[Path, ...]
    every: int | None
    limit: int | None


def picture_options(function: Function) -> Function:
    """Add the options that `PictureOptions` holds."""
    options = (
        click.option(
            "--crops",
            multiple=True,
            type=_PATH,
            help="Folder with crops of people, for an embedder; repeatable.",
        ),
        click.option("--pattern", help="How crops are named: '{person}/{camera}_{view}.png'."),
        click.option(
            "--frames",
            multiple=True,
            type=_PATH,
            help="Video or folder of pictures, for a detector; repeatable.",
        ),
        click.option(
            "--truth",
            multiple=True,
            type=_PATH,
            help="Boxes of people in --frames, in the same order: a MOT file, or a folder with "
            "COCO's annotations.json.",
        ),
        click.option(
            "--every", type=click.IntRange(min=1), help="Only every so many frames of a video."
        ),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            help=f"Most crops of a folder ({MOST_CROPS} if not given) or frames of a video "
            f"({MOST_FRAMES}).",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@contextmanager
def pictures_of(task: Literal["embed", "detect"], options: PictureOptions) -> Iterator[VerifyData]:
    """Give the pictures that the options name; frames of videos are files until the block ends.

    Args:
        task: Of the model: crops for an embedder, frames for a detector.
        options: As given.

    Raises:
        UsageError: They do not fit the task or each other.
        InputError: Pictures or labels cannot be read.
    """
    from crosscam_deploy.verify import VerifyData, read_crops

    if task == "embed":
        if not options.crops or options.frames:
            raise UsageError("an embedder is judged on crops of people", fix="--crops FOLDER")
        most = options.limit or MOST_CROPS
        yield VerifyData(
            crops=tuple(
                read_crops(each, pattern=options.pattern, limit=most) for each in options.crops
            )
        )
        return
    if not options.frames or options.crops:
        raise UsageError("a detector is judged on frames", fix="--frames VIDEO")
    if options.truth and len(options.truth) != len(options.frames):
        raise UsageError(
            f"{len(options.truth)} --truth for {len(options.frames)} --frames",
            expected="one for each, in the same order",
        )
    from crosscam_edge.cli.frames import read_frames

    labels: tuple[Path | None, ...] = options.truth or (None,) * len(options.frames)
    with tempfile.TemporaryDirectory(prefix="crosscam-frames-") as folder:
        yield VerifyData(
            frames=tuple(
                read_frames(
                    source,
                    label,
                    Path(folder, str(k)),
                    every=options.every,
                    limit=options.limit or MOST_FRAMES,
                )
                for k, (source, label) in enumerate(zip(options.frames, labels, strict=True))
            )
        )
