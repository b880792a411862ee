"""The run itself, once everything is checked and open: cameras at work, then the end."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_edge.calibration.file import learned_from
from crosscam_edge.detect.pool import DetectPool
from crosscam_edge.offline import fingerprint
from crosscam_edge.offline.camera import CameraRun, Shared, StorageError
from crosscam_edge.offline.finish import finish, provisional
from crosscam_edge.offline.record import add_engines, add_figures, new_run, stages
from crosscam_edge.offline.run import ProcessResult
from crosscam_edge.opening import cores
from crosscam_edge.sinks.run_file import RunStatus, write_run
from crosscam_edge.timers import StageTimers
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.offline.camera import CameraResult
    from crosscam_edge.offline.plan import CameraPlan
    from crosscam_edge.offline.progress import Progress
    from crosscam_edge.offline.run import ProcessOptions
    from crosscam_edge.opening import Models

_log = get_logger("process")


def carry_out(
    plans: list[CameraPlan],
    out: Path,
    settings: SiteConfig,
    models: Models,
    *,
    options: ProcessOptions,
    progress: Progress,
    stop: threading.Event,
    warnings: list[str],
    began: float,
) -> ProcessResult:
    """Work all cameras off, associate and write.

    Args:
        plans: The cameras.
        out: Output folder, locked by the caller.
        settings: The run's settings.
        models: Closed by the caller.
        options: What results do not depend on.
        progress: Who is told.
        stop: Set from outside to end early and cleanly.
        warnings: What there was to warn of so far.
        began: When the run began, as of `time.perf_counter`.

    Raises:
        InputError: The output folder cannot be written, or the calibration is of another model.
        UsageError: It holds another run.
        RunError: The disk is full, or every camera failed.
    """
    for kind, text in models.why.items():
        if text.startswith("no "):
            warnings.append(f"{kind}: {text}")
    detector, embedder = models.detector, models.embedder
    learned = learned_from(settings.calibration, embedder.model_id)
    if fingerprint.check(
        out / "cache", fingerprint.fingerprint(plans, settings, detector, embedder)
    ):
        _log.info("resuming", out=str(out))
    run = new_run(plans, settings, detector, embedder, models.why, warnings)
    write_run(out, run)
    progress.start([(p.camera_id, _expected_frames(p, settings)) for p in plans])
    timers = StageTimers()
    shared = Shared(
        settings,
        detector,
        None
        if detector.sequential
        else DetectPool(detector, workers=models.streams, batch=options.batch, timers=timers),
        embedder,
        timers,
        progress,
        stop,
        decode_threads=max(1, min(4, cores(settings) // (2 * len(plans)))),
        learned=learned,
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
        add_engines(run, detector, embedder)
        add_figures(run, results, shared, time.perf_counter() - began)
        summary = finish(out, run, results, shared, failed)
        run.figures.wall_seconds = round(time.perf_counter() - began, 3)
        run.figures.stage_seconds = stages(shared)
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
    return ProcessResult(out, run, failed, summary)


def _expected_frames(plan: CameraPlan, settings: SiteConfig) -> int | None:
    frames, rate = plan.info.frames, plan.info.frame_rate
    if frames is None or settings.process_fps is None or settings.process_fps >= rate:
        return frames
    return max(1, round(frames * settings.process_fps / rate))


def _work(plans: list[CameraPlan], shared: Shared, options: ProcessOptions) -> list[CameraResult]:
    """Run all cameras, some at a time; results in order of the plans.

    A full disk or the like ends them all: the others stop cleanly, then the error is raised.
    """
    at_once = options.parallel_cameras or max(2, cores(shared.settings))
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
