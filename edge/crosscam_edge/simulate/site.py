"""`simulate`: plan a site, let people walk, render every camera, write pictures and truth."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_edge.simulate.body import Body
from crosscam_edge.simulate.cameras import Camera, make_cameras, make_view
from crosscam_edge.simulate.crops import CropWriter
from crosscam_edge.simulate.crowd import Walks, walk
from crosscam_edge.simulate.figure import make_figure
from crosscam_edge.simulate.gait import poses
from crosscam_edge.simulate.layout import Layout, plan
from crosscam_edge.simulate.wardrobe import (
    Outfit,
    Person,
    as_record,
    caption,
    make_outfit,
    make_person,
    uniform_outfit,
)
from crosscam_edge.simulate.writers import VideoWriter, write_image, write_json, write_site
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosscam_edge.simulate import _raster
    from crosscam_edge.simulate.config import SiteConfig

#: A person is in the truth of a frame when at least this many of their pixels can be seen.
MIN_VISIBLE_PIXELS = 20
#: Below this visibility a person is "don't care" in the MOT files (flag 0).
MIN_SCORED_VISIBILITY = 0.25
_CHUNK = 200  # frames whose poses are held in memory at a time
_STAGING = ".unfinished"
_OUTPUTS = ("videos", "gt", "crops", "site.yaml", "calibration.json", "people.json")


@dataclass(frozen=True, slots=True)
class SimulatedSite:
    """What was written.

    Attributes:
        root: The folder that was asked for.
        days: One folder per day; `root` itself when there is only one day.
        cameras: Names in the order of `site.yaml`.
        frames: Frames per video.
        people: Number of identities that some camera saw.
    """

    root: Path
    days: list[Path]
    cameras: list[str]
    frames: int
    people: int


@dataclass(slots=True)
class _Day:
    """Everything that the cameras of one day share."""

    number: int
    root: Path
    layout: Layout
    walks: Walks
    people: list[Person]
    bodies: list[Body]
    meshes: list[_raster.Mesh]
    config: SiteConfig
    crops: CropWriter | None
    stop: threading.Event
    report: Callable[[int], None]


@dataclass(slots=True)
class _Truth:
    """Ground truth of one camera: rows of the text formats."""

    amodal: list[str] = field(default_factory=list)
    mot: list[str] = field(default_factory=list)
    mtmc: list[tuple[int, int, int, str]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)


def outfits_of_day(people: list[Person], config: SiteConfig, day: int) -> list[Outfit]:
    """Clothes of everybody on one day; those in uniform wear it every day."""
    out = []
    for person in people:
        fixed = np.random.default_rng([config.seed, 43, person.person_id])
        if fixed.random() < config.lookalikes:
            out.append(uniform_outfit(int(fixed.integers(3))))
        else:
            rng = np.random.default_rng([config.seed, 41, day, person.person_id])
            out.append(make_outfit(person, rng))
    return out


def _render_camera(camera: Camera, day: _Day) -> _Truth:
    config, walks = day.config, day.walks
    truth = _Truth()
    seed = config.seed * 1009 + camera.number * 31 + day.number
    view = make_view(camera, day.layout, seed % (1 << 31))
    masks = day.root / "gt" / "masks" / camera.name
    if config.masks:
        masks.mkdir(parents=True)
    path = day.root / "videos" / f"{camera.name}.mp4"
    with VideoWriter(path, camera.width, camera.height, config.fps, camera.crf) as video:
        for start in range(0, config.frames, _CHUNK):
            span = slice(start, min(start + _CHUNK, config.frames))
            bones = _poses(day, camera.zone, span)
            for frame in range(span.start, span.stop):
                if day.stop.is_set():
                    raise InterruptedError
                here = [p for p in bones if walks.zone[p, frame] == camera.zone]
                posed = (
                    np.stack([bones[p][frame - start] for p in here])
                    if here
                    else np.zeros((0, 22, 12), np.float32)
                )
                image, rows, ids = view.render(
                    [day.meshes[p] for p in here],
                    posed,
                    (seed * 7919 + frame) % (1 << 32),
                    config.masks,
                )
                video.write(image)
                _note(truth, camera, day, frame, here, rows, image)
                if ids is not None:
                    lookup = np.array([0] + [day.people[p].person_id for p in here], np.uint16)
                    write_image(masks / f"{frame + 1:06d}.png", lookup[ids])
                day.report(1)
    return truth


def _poses(day: _Day, zone: int, span: slice) -> dict[int, np.ndarray[Any, np.dtype[np.float32]]]:
    """Bone transforms `(frames, bones, 12)` of everybody who is in the zone at some time."""
    walks = day.walks
    out = {}
    for p in np.flatnonzero((walks.zone[:, span] == zone).any(axis=1)):
        position = np.nan_to_num(walks.position[p, span])
        matrices = poses(
            day.bodies[p], day.people[p].style, position, walks.heading[p, span],
            walks.phase[p, span], walks.speed[p, span], walks.look[p, span],
        )  # fmt: skip
        out[int(p)] = np.ascontiguousarray(matrices.reshape(len(position), -1, 12), np.float32)
    return out


def _note(
    truth: _Truth, camera: Camera, day: _Day, frame: int, here: list[int], rows: Any, image: Any
) -> None:
    """Add one frame to the truth. `rows` are those of the native `View.render`."""
    for p, row in zip(here, rows.tolist(), strict=True):
        whole, visible = row[8], row[10]
        if visible < MIN_VISIBLE_PIXELS:
            continue
        who = day.people[p].person_id
        share = visible / whole
        # Detectors and the people who label footage box what can be seen, so that is what is
        # scored; of whom too little can be seen, finding them is neither asked for nor a mistake.
        scored = int(share >= MIN_SCORED_VISIBILITY)
        left, top, right, bottom = row[4:8]
        seen = (left, top, right - left, bottom - top)
        head = f"{frame + 1},{who},"
        tail = f",{scored},1,{share:.4f}"
        truth.mot.append(head + ",".join(map(str, seen)) + tail)
        x0, y0 = max(row[0], 0), max(row[1], 0)
        x1, y1 = min(row[2], camera.width), min(row[3], camera.height)
        truth.amodal.append(f"{head}{x0},{y0},{x1 - x0},{y1 - y0}{tail}")
        x, y = day.walks.position[p, frame]
        box = " ".join(map(str, seen))
        truth.mtmc.append(
            (camera.number, frame, who, f"{camera.number} {who} {frame} {box} {x:.3f} {y:.3f}")
        )
        truth.seen.add(who)
        if day.crops is not None:
            day.crops.offer(image, (x0, y0, x1, y1), share, who, camera.number, day.number, frame)


def _prepare(out: Path, *, overwrite: bool) -> Path:
    """An empty staging folder inside `out`."""
    if out.exists() and not out.is_dir():
        raise InputError(
            f"{out} is a file", expected="a folder to write into", fix="give another -o"
        )
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise InputError(
            f"{out} is not empty",
            expected="a new or empty folder",
            fix="give another folder, or --overwrite",
        )
    staging = out / _STAGING
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    return staging


def _publish(staging: Path, out: Path) -> None:
    """Move everything from the staging folder to its place."""
    old = [out / name for name in _OUTPUTS] + sorted(out.glob("day[0-9]*"))
    for path in old:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in sorted(staging.iterdir()):
        path.rename(out / path.name)
    staging.rmdir()


def _workers(cameras: int) -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cameras, available or 1))


def _render_day(day: _Day, cameras: list[Camera]) -> list[_Truth]:
    """All cameras beside each other: rendering and encoding run without the GIL."""
    with ThreadPoolExecutor(_workers(len(cameras)), "simulate") as pool:
        futures = [pool.submit(_render_camera, camera, day) for camera in cameras]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [f for f in futures if f.done() and f.exception() is not None]
            if failed:
                failed[0].result()
        finally:
            if not all(f.done() for f in futures):
                day.stop.set()
                for future in futures:
                    future.cancel()
        return [future.result() for future in futures]


def simulate(
    config: SiteConfig,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> SimulatedSite:
    """Render a site.

    Everything is written into a staging folder and moved when it is complete: an interrupted or
    failed run leaves nothing behind.

    Args:
        config: What to simulate.
        out: Folder to write; with several days it gets one folder per day.
        progress: Called with frames done and frames in all, from one thread at a time.
        overwrite: Replace an earlier site in a folder that is not empty.

    Returns:
        Where everything is.

    Raises:
        InputError: `out` is a file, or not empty.
        RunError: It cannot be written (disk full, no permission).
    """
    try:
        staging = _prepare(out, overwrite=overwrite)
        try:
            site = _simulate(config, staging, out, progress)
            _publish(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"cannot write the site to {out}: {error.strerror or error}",
            expected="a writable folder with enough free space",
            fix="free some space or give another -o",
        ) from error
    return site


def _simulate(
    config: SiteConfig, staging: Path, out: Path, progress: Callable[[int, int], None] | None
) -> SimulatedSite:
    layout = plan(config)
    cameras = make_cameras(layout, config)
    people = [
        make_person(k + 1, np.random.default_rng([config.seed, 1, k])) for k in range(config.people)
    ]
    total, done, lock = config.frames * len(cameras) * config.days, [0], threading.Lock()

    def report(frames: int) -> None:
        with lock:
            done[0] += frames
            if progress is not None:
                progress(done[0], total)

    clothes: list[list[Outfit]] = [outfits_of_day(people, config, d) for d in range(config.days)]
    crops = CropWriter(staging / "crops", config) if config.crops else None
    seen: set[int] = set()
    folders = []
    for number in range(config.days):
        name = f"day{number + 1}" if config.days > 1 else ""
        root = staging / name
        for folder in ("videos", "gt/mot", "gt/amodal"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        figures = [make_figure(p, o) for p, o in zip(people, clothes[number], strict=True)]
        day = _Day(
            number, root, layout, walk(layout, people, config, number), people,
            [f[0] for f in figures], [f[1] for f in figures], config, crops,
            threading.Event(), report,
        )  # fmt: skip
        truths = _render_day(day, cameras)
        for camera, truth in zip(cameras, truths, strict=True):
            for folder, lines in (("mot", truth.mot), ("amodal", truth.amodal)):
                (root / "gt" / folder / f"{camera.name}.txt").write_text(
                    "".join(f"{line}\n" for line in lines)
                )
            seen |= truth.seen
        rows = sorted(row for truth in truths for row in truth.mtmc)
        (root / "gt" / "mtmc.txt").write_text("".join(f"{row[-1]}\n" for row in rows))
        write_json(
            root / "calibration.json",
            {"unit": "metre", "cameras": [c.calibration() for c in cameras]},
        )
        _write_people(root / "people.json", people, clothes, [number])
        write_site(root / "site.yaml", [c.name for c in cameras], config.start_of(number))
        folders.append(out / name)
    if config.days > 1:
        _write_people(staging / "people.json", people, clothes, list(range(config.days)))
    return SimulatedSite(out, folders, [c.name for c in cameras], config.frames, len(seen))


def _write_people(
    path: Path, people: list[Person], clothes: list[list[Outfit]], days: list[int]
) -> None:
    entries = []
    for k, person in enumerate(people):
        entries.append(
            {
                "id": person.person_id,
                "height": round(person.shape.height, 3),
                "hair": person.hair,
                "hair_colour": person.hair_colour,
                "days": [
                    {
                        "day": d + 1,
                        "caption": caption(person, clothes[d][k]),
                        "clothes": as_record(clothes[d][k]),
                    }
                    for d in days
                ],
            }
        )
    write_json(path, {"people": entries})
