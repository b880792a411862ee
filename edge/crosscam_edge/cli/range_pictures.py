"""`--calibration`: pictures that ranges of int8 and fp8 follow from, wherever they come from."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from crosscam_edge.cli.frames import FAST_PNG, read_frames
from crosscam_kernels.errors import InputError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.verify import FrameSet

    Task = Literal["embed", "detect"]
    Boxes = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

SIMULATED = "simulated"
"""What `--calibration` calls pictures of people and places that do not exist."""
_MOST_PICTURES = 300  # of a source: more change no range
_MOST_FRAMES = 60  # of a video: each is a file as long as the build runs
_MOST_OF_A_FRAME = 8  # crops
_LEAST_HEIGHT = 32  # pixels of a crop
_SURE = 0.5  # least score of somebody who is cut out


@contextmanager
def calibration_files(
    sources: Sequence[str], task: Task, *, pattern: str | None = None, seed: int = 0
) -> Iterator[tuple[Path, ...]]:
    """Give picture files; those that are cut out or rendered are there until the block ends.

    Args:
        sources: Each a folder of pictures, a data set, a simulated site, a video, or ``simulated``.
        task: Of the model: crops of people for an embedder, whole pictures for a detector.
        pattern: How crops are named in folders whose layout is not known.
        seed: Chooses from sources with more pictures than are of use, and renders.

    Yields:
        At most 300 of each source, the same for the same seed.

    Raises:
        InputError: A source is not there, or holds no pictures of the kind.
        RunError: Pictures cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="crosscam-calibration-") as folder:
        files: list[Path] = []
        for k, source in enumerate(sources):
            rng = np.random.default_rng([seed, k])
            made = Path(folder, str(k))
            made.mkdir()
            found = sorted(set(_files(source, task, made, pattern, seed)))
            if not found:
                what = "crops of people" if task == "embed" else "frames"
                raise InputError(
                    f"--calibration {source} has no {what}",
                    expected=f"{what}, or a video that people are in",
                    fix=f"give another folder or video, or --calibration {SIMULATED}",
                )
            chosen = rng.permutation(len(found))[:_MOST_PICTURES]
            files += [found[place] for place in sorted(chosen.tolist())]
        yield tuple(dict.fromkeys(files))


def check_apart(sources: Sequence[str], judged: Sequence[Path]) -> None:
    """Refuse to judge a build on a video that it was calibrated with.

    Frames of a video are files of their own each time it is read, so that it is not seen later. A
    data set may be named twice: those to train on are calibrated with, the others judged on.

    Args:
        sources: As of `calibration_files`.
        judged: Folders and videos.

    Raises:
        UsageError: A video is in both.
    """
    named = [Path(each).resolve() for each in sources if each != SIMULATED]
    for video in judged:
        if video.is_file() and any(video.resolve().is_relative_to(each) for each in named):
            raise UsageError(
                f"{video} is to be judged on and calibrated with",
                expected="others: a build is never judged on what it was made from",
                fix="leave --calibration out, which divides it, or give another",
            )


def _files(source: str, task: Task, made: Path, pattern: str | None, seed: int) -> Iterable[Path]:
    """Return all pictures of a source; `made` is an empty folder for those that it makes."""
    if source == SIMULATED:
        root = made / "site"
        _simulate(root, task, seed)
        return _of_site(root, task, made)
    path = Path(source)
    if path.is_file():
        return _of_video(path, None, task, made)
    if not path.is_dir():
        raise InputError(
            f"--calibration {source} is not there",
            expected=f"a folder of pictures, a data set, a video, or the word {SIMULATED}",
        )
    if _days(path):
        return _of_site(path, task, made)
    return _of_people(path, pattern) if task == "embed" else _of_pictures(path)


def _of_people(folder: Path, pattern: str | None) -> list[Path]:
    """Return the crops of a data set, of those to train on where it tells; or of any folder."""
    from crosscam_deploy.verify import read_crops
    from crosscam_trainer.data.registry import KINDS, load

    if pattern is None and any(kind.recognises(folder) for kind in KINDS.values()):
        data = load(folder)
        return [each.path for each in data.train or (*data.query, *data.gallery)]
    return [crop.path for crop in read_crops(folder, pattern=pattern, limit=0).crops]


def _of_pictures(folder: Path) -> list[Path]:
    from crosscam_deploy.pictures.files import images_below
    from crosscam_trainer.detection.coco import ANNOTATIONS, read_coco

    if (folder / ANNOTATIONS).is_file():
        return [picture.file for picture in read_coco(folder)]
    return list(images_below(folder))


def _simulate(root: Path, task: Task, seed: int) -> None:
    """Render a small site: three cameras for 20 seconds."""
    from crosscam_edge.simulate import SiteConfig, simulate

    crops = task == "embed"
    config = SiteConfig(
        people=16, cameras=3, seconds=20, fps=4 if crops else 1, crops=crops, seed=seed
    )
    simulate(config, root)


def _days(root: Path) -> list[Path]:
    """Return the folders with videos of a simulated site, one a day; none where it is none."""
    days = [root, *sorted(root.glob("day[0-9]*"))]
    return [day for day in days if (day / "site.yaml").is_file() and (day / "videos").is_dir()]


def _of_site(root: Path, task: Task, made: Path) -> list[Path]:
    """Return crops of a simulated site, or frames of its videos."""
    if task == "embed" and (root / "crops").is_dir():
        return _of_people(root, None)
    files: list[Path] = []
    for k, day in enumerate(_days(root)):
        for video in sorted((day / "videos").iterdir()):
            truth = day / "gt" / "mot" / f"{video.stem}.txt"
            to = made / f"{k}-{video.stem}"
            files += _of_video(video, truth if truth.is_file() else None, task, to)
    return files


def _of_video(video: Path, truth: Path | None, task: Task, made: Path) -> list[Path]:
    """Return frames spread over a video, or the people in them."""
    frames = made / "frames"
    found = read_frames(video, truth, frames, every=None, limit=_MOST_FRAMES)
    if task == "detect":
        return list(found.frames)
    crops = made / "crops"
    crops.mkdir(parents=True, exist_ok=True)
    if found.truth is not None:
        files = _cut(found, _from_truth(found), crops)
    else:
        with _detector() as boxes:
            files = _cut(found, (boxes(_read(frame)) for frame in found.frames), crops)
    shutil.rmtree(frames)
    return files


def _from_truth(frames: FrameSet) -> Iterator[NDArray[np.floating]]:
    ignored = frames.ignored or tuple(np.zeros(len(b), bool) for b in frames.truth or ())
    for boxes, left_out in zip(frames.truth or (), ignored, strict=True):
        yield boxes[~left_out]


@contextmanager
def _detector() -> Iterator[Boxes]:
    """Give a function that finds people, by the best detector of this machine."""
    from crosscam_deploy import zoo
    from crosscam_deploy.runtime import open_runtime
    from crosscam_edge.detect.model import ModelDetector

    bundle = zoo.best_available("detect")
    if bundle is None:
        raise InputError(
            "there is no detector to find the people of a video with",
            expected="one on this machine",
            fix="crosscam models pull detector, or give a folder of crops",
        )
    detector = ModelDetector(
        open_runtime(bundle, lazy=True),
        _SURE,
        reopen=lambda size: open_runtime(bundle, input_size=size),
    )
    try:
        yield lambda image: detector.detect([image])[0].xyxy
    finally:
        detector.close()


def _cut(frames: FrameSet, boxes: Iterable[NDArray[np.floating]], folder: Path) -> list[Path]:
    """Write the people in each frame as files, the largest first."""
    files: list[Path] = []
    for frame, found in zip(frames.frames, boxes, strict=True):
        image = _read(frame)
        order = np.argsort(found[:, 1] - found[:, 3], kind="stable")[:_MOST_OF_A_FRAME]
        for k, (left, top, right, bottom) in enumerate(np.round(found[order]).astype(int)):
            crop = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            if crop.shape[0] < _LEAST_HEIGHT or not crop.size:
                continue
            file = folder / f"{frame.stem}-{k}.png"
            if not cv2.imwrite(str(file), crop, FAST_PNG):
                raise RunError(f"{file} cannot be written", fix="free some space, or set TMPDIR")
            files.append(file)
    return files


def _read(file: Path) -> NDArray[np.uint8]:
    """Read a picture as BGR."""
    from crosscam_deploy.pictures.files import read_image

    return np.ascontiguousarray(read_image(file)[..., ::-1])
