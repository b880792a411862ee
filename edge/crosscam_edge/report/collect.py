"""The crops of each identity without drawing videos: only frames that carry one are decoded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from crosscam_edge.report.crops import clear_crops, plan_crops
from crosscam_edge.report.rows import frames_of
from crosscam_edge.sources import open_source, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from crosscam_edge.report.crops import CropPlan
    from crosscam_edge.sinks.schema import CameraInfo


def take_crops(
    out: Path,
    cameras: Sequence[CameraInfo],
    *,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: int = 2,
) -> bool:
    """Take the crops of a run's identities: the same as `render_videos` takes.

    Writes ``crops/<global_id>/<camera>_<frame>.jpg``, at most six for each identity and camera.

    Args:
        out: Folder of the run, with `tracks.parquet` and perhaps `embeddings.parquet`.
        cameras: All cameras of the run; their videos are read again.
        progress: Called with the frames done and the frames in all, from one thread at a time.
        stop: Says when to give up; crops that are taken by then stay.
        threads: Cameras that are worked on at once, >= 1.

    Returns:
        Whether it came to its end; False when `stop` said so.

    Raises:
        InputError: A recording or `tracks.parquet` cannot be read, or `out` cannot be written.
        RunError: The disk is full.
    """
    plan = plan_crops(out, cameras)
    clear_crops(out)
    total, done, lock = sum(map(len, plan.wanted.values())), 0, threading.Lock()
    abandoned = threading.Event()

    def advance() -> None:
        nonlocal done
        with lock:
            done += 1
            if progress is not None:
                progress(done, total)

    def take(camera: CameraInfo) -> None:
        _take(out, camera, plan, advance, lambda: stop() or abandoned.is_set())

    workers = max(1, min(threads, len(cameras)))
    with ThreadPoolExecutor(workers, thread_name_prefix="crops") as pool:
        futures = [pool.submit(take, camera) for camera in cameras]
        try:
            wait(futures)  # one camera that cannot be read does not cost the others their pictures
        except BaseException:
            abandoned.set()
            raise
    for future in futures:
        future.result()
    return not stop()


def _take(
    out: Path,
    camera: CameraInfo,
    plan: CropPlan,
    advance: Callable[[], None],
    stop: Callable[[], bool],
) -> None:
    chosen = plan.wanted.get(camera.camera_id, {})
    rows = {
        r.frame: r for r in frames_of(out / "tracks.parquet", camera.camera_id) if r.frame in chosen
    }
    if not rows or stop():
        return
    info = probe(camera.video, camera.frame_rate)
    source = open_source(camera.camera_id, info, start_ns=camera.start_time_ns)
    try:
        for frame in source.pick({n: r.time_ns for n, r in rows.items()}, stop=stop):
            plan.take(out, camera, frame.image, rows[frame.index])
            advance()
    finally:
        source.close()
