"""Rendering a set with several processes; what is finished is never done again.

Work is cut into blocks of scenes of one camera. A block's pictures are written first, its lines of
the table last and all at once: a block with lines is complete. Each process holds one camera at a
time, so memory does not grow with the set.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2

from crosscam_kernels.errors import InputError, RunError
from crosscam_trainer.people import writing
from crosscam_trainer.people.bodies import shapes
from crosscam_trainer.people.cameras import draw_station
from crosscam_trainer.people.config import PeopleConfig
from crosscam_trainer.people.frames import render_frame
from crosscam_trainer.people.rendering import render_scene
from crosscam_trainer.people.schedule import BLOCK, Visit, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.synchronize import Event
    from pathlib import Path

#: Part of what a resumed run must agree with: raised when equal seeds give other pictures.
VERSION = 2
_WORK = ".unfinished"
_CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class GeneratedPeople:
    """What was written.

    Attributes:
        root: The folder.
        pictures: Crops in the set.
        frames: Full pictures in it.
        rendered: Pictures of both kinds by this run; fewer when it went on with an earlier one.
        seconds: That this run took.
        finished: False when it was stopped before the end.
    """

    root: Path
    pictures: int
    frames: int
    rendered: int
    seconds: float
    finished: bool


class _Stop:
    """Set in the processes by `_begin`, in this one by `_render_here`."""

    event: Event | threading.Event | None = None


def _begin(stop: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and sets the event
    cv2.setNumThreads(1)
    _Stop.event = stop


_plan = cache(plan)


def _blocks(scenes: list[list[Visit]]) -> Iterator[tuple[int, list[tuple[int, list[Visit]]]]]:
    numbered = list(enumerate(scenes))
    for start in range(0, len(numbered), BLOCK):
        yield start // BLOCK, numbered[start : start + BLOCK]


def _table(work: Path, camera: int, block: int) -> Path:
    return work / f"c{camera:04d}-{block:05d}.jsonl"


def _frame_blocks(config: PeopleConfig, camera: int) -> Iterator[tuple[int, range]]:
    """Numbers of a camera's full pictures, in blocks."""
    count = config.frames_of(camera)
    for start in range(0, count, BLOCK):
        yield start // BLOCK, range(start, min(start + BLOCK, count))


def _frame_table(work: Path, camera: int, block: int) -> Path:
    return work / f"f{camera:04d}-{block:05d}.jsonl"


def _stopped() -> bool:
    return _Stop.event is not None and _Stop.event.is_set()


def _render_camera(
    root: Path, camera: int, config: PeopleConfig, told: Callable[[], None] = lambda: None
) -> int:
    """Render what is left of a camera; returns the number of pictures. `told` hears each block."""
    work = root / _WORK
    todo = [
        (block, scenes)
        for block, scenes in _blocks(_plan(config)[camera])
        if not _table(work, camera, block).exists()
    ]
    frames = [
        (block, numbers)
        for block, numbers in _frame_blocks(config, camera)
        if not _frame_table(work, camera, block).exists()
    ]
    if _stopped() or not (todo or frames):
        return 0
    station = draw_station(camera, config.seed, config.frame)
    view = station.view()
    pictures = 0
    for block, scenes in todo:
        if _stopped():
            return pictures
        rows: list[dict[str, Any]] = []
        for number, group in scenes:
            seen = render_scene(station, view, group, number, config)
            rows += writing.write_crops(root, camera, number, seen, config)
        writing.replace_file(_table(work, camera, block), writing.as_lines(rows))
        pictures += len(rows)
        told()
    for block, numbers in frames:
        if _stopped():
            return pictures
        rows = [
            writing.write_frame(root, camera, k, render_frame(station, view, k, config))
            for k in numbers
        ]
        writing.replace_file(_frame_table(work, camera, block), writing.as_lines(rows))
        pictures += len(rows)
        told()
    return pictures


def _open(root: Path, config: PeopleConfig, *, resume: bool, overwrite: bool) -> None:
    """Make the folder ready.

    Raises:
        InputError: It holds something else, or a set with other settings.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file", expected="a folder", fix="give another -o")
    if overwrite:
        for name in (writing.CROPS, writing.MASKS, writing.FRAMES, _WORK):
            shutil.rmtree(root / name, ignore_errors=True)
        for name in (writing.TABLE, writing.PEOPLE, writing.SITE, writing.BOXES, _CONFIG):
            (root / name).unlink(missing_ok=True)
    asked = {"version": VERSION, **config.model_dump()}
    if root.is_dir() and any(root.iterdir()) and not overwrite:
        if not resume:
            raise InputError(
                f"{root} is not empty",
                expected="a new or empty folder",
                fix="give another folder, --resume or --overwrite",
            )
        try:
            found = json.loads((root / _CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if found != asked:
            raise InputError(
                f"{root} was made with other settings",
                expected=json.dumps(found) if found else "a folder that this command wrote",
                fix="repeat the settings, or --overwrite",
            )
    writing.folders(root, frames=config.frames > 0)
    (root / _WORK).mkdir(exist_ok=True)
    writing.replace_file(root / _CONFIG, json.dumps(asked, indent=1).encode())


def _workers(asked: int | None, cameras: int) -> int:
    if asked is not None:
        return max(1, min(asked, cameras))
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(available or 1, cameras))


def generate(
    config: PeopleConfig,
    root: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stop: threading.Event | None = None,
) -> GeneratedPeople:
    """Render a set.

    Args:
        config: What.
        root: Folder to write.
        progress: Called with blocks done and blocks in all.
        workers: Processes; one a core if None. The bytes do not depend on it. One renders in the
            process that calls; several are started anew, so that a script has to call this under
            ``if __name__ == "__main__":``.
        resume: Go on with a run in the folder that was stopped.
        overwrite: Replace what an earlier run wrote.
        stop: When set, blocks that are begun are finished and the rest is left for `resume`.

    Returns:
        What was written.

    Raises:
        InputError: The folder holds something else.
        MissingExtraError: `anny` is not installed.
        RunError: The folder cannot be written.
    """
    started = time.monotonic()
    shapes()  # read once here, so that the processes find the cache
    try:
        _open(root, config, resume=resume, overwrite=overwrite)
        rendered = 0
        complete = root / writing.TABLE
        if not complete.exists():
            rendered = _run(config, root, progress, _workers(workers, config.cameras), stop)
            if not _publish(config, root):
                return GeneratedPeople(root, 0, 0, rendered, time.monotonic() - started, False)
        with complete.open("rb") as lines:
            pictures = sum(1 for _ in lines)
    except BrokenProcessPool as error:
        raise RunError(
            "a process of the generator was killed or could not start",
            expected="some 200 MB of memory for each; in a script, generate() called under "
            "if __name__ == '__main__'",
            fix="go on with --resume and fewer --workers",
        ) from error
    except OSError as error:
        raise RunError(
            f"cannot write to {root}: {error.strerror or error}",
            expected="a writable folder with enough free space",
            fix="free some space and go on with --resume",
        ) from error
    seconds = time.monotonic() - started
    return GeneratedPeople(root, pictures, config.frames, rendered, seconds, True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started inside compute with one thread: there is one for each core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run(
    config: PeopleConfig,
    root: Path,
    progress: Callable[[int, int], None] | None,
    workers: int,
    stop: threading.Event | None,
) -> int:
    """Render all cameras that are left; returns the number of pictures."""

    def tell() -> None:
        if progress is not None:
            progress(sum(1 for _ in (root / _WORK).glob("*.jsonl")), total)

    total = sum(1 for scenes in _plan(config).values() for _ in _blocks(scenes))
    total += sum(1 for k in range(1, config.cameras + 1) for _ in _frame_blocks(config, k))
    if workers == 1:
        return _render_here(config, root, tell, stop)
    context = multiprocessing.get_context("spawn")
    halt = context.Event()
    with _one_thread_each(), ProcessPoolExecutor(workers, context, _begin, (halt,)) as pool:
        jobs: set[Future[int]] = {
            pool.submit(_render_camera, root, camera, config)
            for camera in range(1, config.cameras + 1)
        }
        waiting = set(jobs)
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_EXCEPTION)
                tell()
                if any(job.exception() is not None for job in done if not job.cancelled()):
                    break
                if stop is not None and stop.is_set() and not halt.is_set():
                    halt.set()
                    waiting = {job for job in waiting if not job.cancel()}
        finally:
            halt.set()
            for job in waiting:
                job.cancel()
    return sum(job.result() for job in jobs if not job.cancelled())


def _render_here(
    config: PeopleConfig, root: Path, told: Callable[[], None], stop: threading.Event | None
) -> int:
    """Render all cameras that are left in this process; returns the number of pictures."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    _Stop.event = stop
    try:
        cameras = range(1, config.cameras + 1)
        return sum(_render_camera(root, camera, config, told) for camera in cameras)
    finally:
        _Stop.event = None
        cv2.setNumThreads(threads)


def _publish(config: PeopleConfig, root: Path) -> bool:
    """Join the tables of the blocks when all are there; returns whether they are."""
    work = root / _WORK
    tables = [
        _table(work, camera, block)
        for camera, scenes in _plan(config).items()
        for block, _ in _blocks(scenes)
    ]
    boxes = [
        _frame_table(work, camera, block)
        for camera in range(1, config.cameras + 1)
        for block, _ in _frame_blocks(config, camera)
    ]
    if not all(table.exists() for table in (*tables, *boxes)):
        return False
    if boxes:
        writing.write_boxes(root, boxes)
    writing.write_labels(root, config)
    writing.replace_file(root / writing.TABLE, b"".join(table.read_bytes() for table in tables))
    shutil.rmtree(work)
    return True
