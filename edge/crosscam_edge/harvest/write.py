"""Takes the crops out of the recordings and writes them as a data set of the kind ``site``."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from crosscam_edge.harvest.choose import HarvestOptions, choose
from crosscam_edge.harvest.gallery import GALLERY, choose_kept, is_live, opened, take_kept
from crosscam_edge.sinks.atomic import output_error, write_text
from crosscam_edge.sinks.run_file import RunStatus, read_run
from crosscam_edge.sinks.schema import file_stem
from crosscam_edge.sources import open_source, probe
from crosscam_kernels.errors import InputError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_edge.harvest.choose import Chosen, Crop
    from crosscam_edge.sinks.schema import CameraInfo

_TALLEST = 384
_JPEG = 95
_LABELS = "intra-camera"


@dataclass(slots=True)
class Harvest:
    """What came of it.

    Attributes:
        out: The data set.
        people: Number of people by camera; the same person in two cameras counts twice.
        crops: Number of pictures by camera.
        left_out: What was not taken, by reason.
        stopped: Whether it was told to stop; then there is no data set.
    """

    out: Path
    people: dict[str, int] = field(default_factory=dict)
    crops: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    stopped: bool = False


def harvest(
    run: Path,
    out: Path,
    options: HarvestOptions | None = None,
    *,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep_days: float | None = None,
) -> Harvest:
    """Make a data set of a run: pictures of people, with labels that hold inside each camera.

    It appears whole or not at all: pictures are gathered beside it first.

    Args:
        run: Folder of `crosscam process`, whose recordings are read again; or of `crosscam run`,
            also while it goes on, whose gallery keeps pictures.
        out: The data set, which must not exist yet.
        options: What is taken.
        name: Of the data set; that of its folder if not given.
        progress: Called with the pictures taken and the pictures in all, from one thread at a time.
        stop: Says when to give up.
        keep_days: Older pictures of a live run are left out, as are those that it would not have
            kept by now.

    Raises:
        UsageError: There is something at `out`.
        InputError: It is no run, or one that does not allow it, a recording cannot be read, or
            nobody is worth learning from.
        RunError: The disk is full.
    """
    options = options or HarvestOptions()
    if out.exists():
        raise UsageError(
            f"'{out}' is there already", expected="a new folder", fix="choose another with -o"
        )
    if is_live(run):
        with opened(run / GALLERY) as reader:
            kept = choose_kept(reader, options, time.time_ns(), keep_days)
            _require(run, bool(kept.pictures), options, kept.left_out)
            return _written(
                out,
                name or out.name,
                kept.left_out,
                lambda folder: take_kept(reader, folder, kept, progress, stop),
                stop,
            )
    if not (run / "run.json").is_file():
        raise InputError(
            f"there is no run in '{run}'",
            expected="a folder of `crosscam process` or of `crosscam run`",
            fix="name the folder that was given to it with -o",
        )
    record = read_run(run)
    if record.status is RunStatus.RUNNING:
        raise InputError(
            f"the run in '{run}' is not finished",
            expected="one that is complete, or was interrupted",
            fix="wait for it, or repeat its command",
        )
    cameras = record.camera_infos()
    chosen = choose(run, cameras, options)
    _require(run, any(chosen.crops.values()), options, chosen.left_out)
    return _written(
        out,
        name or out.name,
        chosen.left_out,
        lambda folder: _take_all(folder, cameras, chosen, progress, stop),
        stop,
    )


def _require(run: Path, anybody: bool, options: HarvestOptions, left_out: Counter[str]) -> None:
    if not anybody:
        raise InputError(
            f"there is nobody in '{run}' to learn from ({_reasons(left_out)})",
            expected=f"people with at least {options.least} good crops in a camera",
            fix="record for longer, or ask for less: --least, --quality, --height",
        )


def _written(
    out: Path,
    name: str,
    left_out: Counter[str],
    take: Callable[[Path], list[dict[str, Any]]],
    stop: Callable[[], bool],
) -> Harvest:
    """Have pictures taken into a folder beside `out`, which becomes `out` at once."""
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        rows = take(partial)
        if stop():
            return Harvest(out, left_out=left_out, stopped=True)
        _write_tables(partial, name, rows)
        partial.replace(out)
    except OSError as error:
        raise output_error(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    people: dict[str, set[str]] = {}
    for row in rows:
        people.setdefault(row["camera"], set()).add(row["person"])
    return Harvest(
        out,
        {camera: len(found) for camera, found in sorted(people.items())},
        dict(sorted(Counter(row["camera"] for row in rows).items())),
        Counter({reason: n for reason, n in left_out.items() if n}),
    )


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n) or "no crops at all"


def _take_all(
    folder: Path,
    cameras: list[CameraInfo],
    chosen: Chosen,
    progress: Callable[[int, int], None] | None,
    stop: Callable[[], bool],
) -> list[dict[str, Any]]:
    total, done, lock = sum(map(len, chosen.crops.values())), 0, threading.Lock()

    def advance() -> None:
        nonlocal done
        with lock:
            done += 1
            if progress is not None:
                progress(done, total)

    with ThreadPoolExecutor(2, thread_name_prefix="harvest") as pool:
        parts = list(
            pool.map(lambda c: _take(folder, c, chosen.crops[c.camera_id], advance, stop), cameras)
        )
    return [row for part in parts for row in part]


def _take(
    folder: Path,
    camera: CameraInfo,
    crops: list[Crop],
    advance: Callable[[], None],
    stop: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Save the crops of one camera; returns their lines of the table."""
    if not crops:
        return []
    by_frame: dict[int, list[Crop]] = {}
    for crop in crops:
        by_frame.setdefault(crop.frame, []).append(crop)
    info = probe(camera.video, camera.frame_rate)
    source = open_source(camera.camera_id, info, start_ns=camera.start_time_ns)
    rows = []
    stem = file_stem(camera.camera_id)
    try:
        for frame in source.pick({n: c[0].time_ns for n, c in by_frame.items()}, stop=stop):
            for crop in by_frame[frame.index]:
                file = f"crops/{stem}/{crop.person}/{crop.track}_{crop.frame:07d}.jpg"
                if _save(folder / file, frame.image, crop.xyxy):
                    rows.append(_row(camera.camera_id, file, crop))
                advance()
    finally:
        source.close()
    return rows


def _row(camera_id: str, file: str, crop: Crop) -> dict[str, Any]:
    return {
        "file": file,
        "camera": camera_id,
        "person": str(crop.person),
        "tracklet": str(crop.track),
        "frame": crop.frame,
        "time_ns": crop.time_ns,
        "quality": round(min(max(crop.quality, 1e-4), 1.0), 4),
    }


def _save(path: Path, image: NDArray[np.uint8], xyxy: tuple[float, ...]) -> bool:
    """Save a crop; returns whether there was anything of it in the picture."""
    height, width = image.shape[:2]
    x1, y1 = (max(0, int(np.floor(v))) for v in xyxy[:2])
    x2, y2 = (min(most, int(np.ceil(v))) for v, most in zip(xyxy[2:], (width, height), strict=True))
    if x2 - x1 < 2 or y2 - y1 < 2:
        return False
    crop: Any = image[y1:y2, x1:x2]
    if crop.shape[0] > _TALLEST:
        size = (max(1, round(crop.shape[1] * _TALLEST / crop.shape[0])), _TALLEST)
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    if not done:
        raise RunError(f"encoding {path} failed")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
    return True


def _write_tables(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    info = {
        "schema_version": 1,
        "name": name,
        "labels": _LABELS,
        "crosscam_version": version("crosscam"),
    }
    write_text(folder / "dataset.json", json.dumps(info, indent=1) + "\n")
    write_text(folder / "crops.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
