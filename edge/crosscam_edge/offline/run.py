"""`process`: the whole offline run."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_edge.detect import choose_detector
from crosscam_edge.embed.select import choose_embedder
from crosscam_edge.offline import fingerprint
from crosscam_edge.offline.camera import CameraPlan, CameraResult, CameraRun, Shared, StorageError
from crosscam_edge.offline.detect_pool import DetectPool
from crosscam_edge.offline.finish import finish, provisional
from crosscam_edge.offline.lock import FolderLock
from crosscam_edge.offline.prepare import camera_info, open_folder, plan_cameras, prepare_folder
from crosscam_edge.offline.progress import SilentProgress
from crosscam_edge.offline.timers import StageTimers
from crosscam_edge.sinks.run_file import (
    CameraRecord,
    Figures,
    InputFile,
    ModelRecord,
    RunFile,
    RunStatus,
    write_run,
)
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.offline.progress import Progress

_log = get_logger("process")


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """How a run is done, as far as results do not depend on it.

    Attributes:
        overwrite: Delete the results of an earlier run in the output folder.
        keep_going: Leave out videos that cannot be opened.
        batch: Most images in one call of the detector.
        parallel_cameras: Cameras worked on at the same time; None for the number of cores.
        provisional: Associate what there is while cameras are still being worked on.
    """

    overwrite: bool = False
    keep_going: bool = False
    batch: int = 1
    parallel_cameras: int | None = None
    provisional: bool = True


@dataclass(slots=True)
class ProcessResult:
    """What a run came to.

    Attributes:
        out: Output folder.
        run: The contents of ``run.json``.
        failed: Error by camera that could not be finished.
        shared_identities: Identities seen in more than one camera.
    """

    out: Path
    run: RunFile
    failed: dict[str, str] = field(default_factory=dict)
    shared_identities: int = 0


def process(
    videos: Sequence[str | Path],
    out: Path,
    settings: SiteConfig,
    *,
    options: ProcessOptions | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> ProcessResult:
    """Give every person in recorded videos one id.

    An unfinished run in `out` with the same inputs, models and settings is resumed.

    Args:
        videos: Files or folders of pictures; empty to take the cameras of `settings`.
        out: Output folder.
        settings: Everything that results depend on.
        options: Everything that they do not depend on.
        progress: Who is told how far it is.
        stop: Set it to end early: what is done is associated and written, and can be resumed.

    Returns:
        What was found; ``run.run.status`` is ``interrupted`` when `stop` was set before the end.

    Raises:
        InputError: A video cannot be used or `out` cannot be written.
        UsageError: The settings are wrong, or `out` holds another run.
        RunError: Another process works in `out`, the disk is full, or every camera failed.
    """
    options = options or ProcessOptions()
    progress = progress or SilentProgress()
    stop = stop or threading.Event()
    began = time.perf_counter()
    plans, warnings = plan_cameras(settings, videos, out, keep_going=options.keep_going)
    open_folder(out)
    with FolderLock(out):
        warnings += prepare_folder(out, plans, overwrite=options.overwrite)
        timers = StageTimers()
        streams = min(2, _cores(settings))
        threads = settings.threads or 0
        detector, why_detector = choose_detector(
            settings.detector,
            min_confidence=settings.min_confidence,
            threads=threads,
            streams=streams,
            longest=settings.detector_size,
        )
        embedder, why_embedder = choose_embedder(
            # each camera embeds one frame at a time: more streams than cameras only split threads
            settings.embedder,
            threads=threads,
            streams=min(streams, len(plans)),
        )
        why = {"detector": why_detector, "embedder": why_embedder}
        for kind, text in why.items():
            if text.startswith("no "):
                warnings.append(f"{kind}: {text}")
        resumed = fingerprint.check(
            out / "cache", fingerprint.fingerprint(plans, settings, detector, embedder)
        )
        if resumed:
            _log.info("resuming", out=str(out))
        run = _new_run(plans, settings, detector, embedder, why, warnings)
        write_run(out, run)
        progress.start([(p.camera_id, _expected_frames(p, settings)) for p in plans])
        shared = Shared(
            settings,
            detector,
            None
            if detector.sequential
            else DetectPool(detector, workers=streams, batch=options.batch, timers=timers),
            embedder,
            timers,
            progress,
            stop,
            decode_threads=max(1, min(4, _cores(settings) // (2 * len(plans)))),
        )
        if options.provisional:
            shared.provisional = provisional(plans, shared)
        try:
            results = _work(plans, shared, options)
            if shared.provisional is not None:
                shared.provisional.close()
            failed = {r.plan.camera_id: r.error for r in results if r.error is not None}
            if len(failed) == len(plans):
                raise RunError(
                    "every camera failed: "
                    + "; ".join(f"{name}: {error}" for name, error in failed.items()),
                    fix="see the reasons; finished parts are kept and a repeated run resumes",
                )
            _add_figures(run, results, shared, time.perf_counter() - began)
            summary = finish(out, run, results, shared, failed)
            run.figures.wall_seconds = round(time.perf_counter() - began, 3)
            run.figures.stage_seconds = _stages(shared)
            write_run(out, run)
        except Exception as error:
            run.status, run.error = RunStatus.FAILED, str(error)
            run.finished = datetime.now(UTC)
            try:
                write_run(out, run)
            except CrosscamError as second:
                _log.warning("run.json could not be written", reason=str(second))
            raise
        finally:
            if shared.provisional is not None:
                shared.provisional.close()
            if shared.pool is not None:
                shared.pool.close()
            detector.close()
            embedder.close()
    return ProcessResult(out, run, failed, summary)


def _cores(settings: SiteConfig) -> int:
    return settings.threads or len(os.sched_getaffinity(0))


def _expected_frames(plan: CameraPlan, settings: SiteConfig) -> int | None:
    frames, rate = plan.info.frames, plan.info.frame_rate
    if frames is None or settings.process_fps is None or settings.process_fps >= rate:
        return frames
    return max(1, round(frames * settings.process_fps / rate))


def _work(plans: list[CameraPlan], shared: Shared, options: ProcessOptions) -> list[CameraResult]:
    """Run all cameras, some at a time; results in order of the plans.

    A full disk or the like ends them all: the others stop cleanly, then the error is raised.
    """
    at_once = options.parallel_cameras or max(2, _cores(shared.settings))
    with ThreadPoolExecutor(min(at_once, len(plans)), thread_name_prefix="camera") as pool:
        futures = [pool.submit(_work_off, plan, shared) for plan in plans]
        pending = set(futures)
        while pending:
            # Waking up now and then lets signal handlers run in the main thread.
            finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            if any(future.exception() is not None for future in finished):
                shared.stop.set()
    try:
        return [future.result() for future in futures]
    except StorageError as error:
        raise error.cause from error


def _work_off(plan: CameraPlan, shared: Shared) -> CameraResult:
    return CameraRun(plan, shared).run()


def _new_run(
    plans: list[CameraPlan],
    settings: SiteConfig,
    detector: Detector,
    embedder: Embedder,
    why: dict[str, str],
    warnings: list[str],
) -> RunFile:
    return RunFile(
        crosscam_version=version("crosscam"),
        status=RunStatus.RUNNING,
        started=datetime.now(UTC),
        config=settings.model_dump(mode="json"),
        inputs=[
            InputFile(
                path=str(plan.info.path),
                bytes=None if plan.info.path.is_dir() else plan.info.path.stat().st_size,
                duration_seconds=None
                if plan.info.frames is None
                else round(plan.info.frames / plan.info.frame_rate, 3),
                codec=plan.info.codec,
            )
            for plan in plans
        ],
        cameras=[
            CameraRecord.from_info(camera_info(plan, 0, settings.process_fps)) for plan in plans
        ],
        models={
            "detector": _model_record(detector, why["detector"]),
            "embedder": _model_record(embedder, why["embedder"]),
        },
        warnings=warnings,
    )


def _camera_record(plan: CameraPlan, frames: int, settings: SiteConfig) -> CameraRecord:
    return CameraRecord.from_info(camera_info(plan, frames, settings.process_fps))


def _model_record(model: Detector | Embedder, why: str) -> ModelRecord:
    runtime = getattr(model, "runtime", None)
    if runtime is None:
        return ModelRecord(
            name=model.name,
            model_id=model.model_id,
            licence="Apache-2.0",
            source=f"built in ({why})",
        )
    manifest = runtime.bundle.manifest
    return ModelRecord(
        name=model.name,
        model_id=model.model_id,
        licence=manifest.licence,
        runtime=runtime.name,
        device=runtime.device,
        precision=runtime.precision,
        source=f"{manifest.source} ({why})",
    )


def _add_figures(run: RunFile, results: list[CameraResult], shared: Shared, seconds: float) -> None:
    dropped: dict[str, int] = {}
    for result in results:
        stats = result.stats
        counts = {
            "corrupt packets": stats.corrupt_packets,
            "unusable frames": stats.unusable_frames,
            "frames above process_fps": stats.strided,
            **result.dropped,
        }
        for reason in result.verdict.dropped.values():
            counts[f"tracks: {reason}"] = counts.get(f"tracks: {reason}", 0) + 1
        for reason, count in counts.items():
            if count:
                dropped[reason] = dropped.get(reason, 0) + count
        name = result.plan.camera_id
        notes = stats.warnings(result.plan.info)
        run.warnings.extend(f"camera '{name}': {note}" for note in notes)
        if result.error is not None:
            run.warnings.append(f"camera '{name}' could not be finished: {result.error}")
    if shared.embedder.unusable:
        dropped["crops without embedding"] = shared.embedder.unusable
    frames = sum(result.frames for result in results)
    fresh = frames - sum(result.resumed for result in results)
    run.cameras = [
        CameraRecord.from_info(camera_info(r.plan, r.last_index + 1, shared.settings.process_fps))
        for r in results
    ]
    run.figures = Figures(
        frames=frames,
        detections=sum(result.detections for result in results),
        embeddings=sum(result.embedded for result in results),
        wall_seconds=round(seconds, 3),
        fps=round(fresh / seconds, 3) if seconds > 0 else 0.0,
        video_seconds=round(
            sum(max(0, r.last_ns - r.plan.start_ns) / 1e9 for r in results if r.frames), 3
        ),
        stage_seconds=_stages(shared),
        dropped=dropped,
        peak_memory_bytes=_peak_memory(),
    )
    if shared.provisional is not None:
        run.figures.provisional_solves = shared.provisional.figures.solves
        run.figures.provisional_failures = shared.provisional.figures.failures


def _stages(shared: Shared) -> dict[str, float]:
    inference = shared.detector.inference_seconds + shared.embedder.inference_seconds
    return {**shared.timers.seconds(), "inference": round(inference, 4)}


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
