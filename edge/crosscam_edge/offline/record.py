"""What a run says of itself in ``run.json``."""

from __future__ import annotations

import resource
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from crosscam_edge.offline.prepare import camera_info
from crosscam_edge.sinks.run_file import (
    CameraRecord,
    Figures,
    InputFile,
    ModelRecord,
    RunFile,
    RunStatus,
)

if TYPE_CHECKING:
    from crosscam_edge.config import SiteConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.offline.camera import CameraResult, Shared
    from crosscam_edge.offline.plan import CameraPlan


def new_run(
    plans: list[CameraPlan],
    settings: SiteConfig,
    detector: Detector,
    embedder: Embedder,
    why: dict[str, str],
    warnings: list[str],
) -> RunFile:
    """Return ``run.json`` as a run begins."""
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


def add_engines(run: RunFile, detector: Detector, embedder: Embedder) -> None:
    """Note engines that took over during the run, as those for GPUs do when they are built."""
    for kind, model in (("detector", detector), ("embedder", embedder)):
        record = run.models[kind]
        engines = getattr(model, "runtimes", None) or [getattr(model, "runtime", None)]
        later = next((e for e in engines if e is not None and e.name != record.runtime), None)
        if later is None:
            continue
        changes = {"runtime": later.name, "device": later.device, "precision": later.precision}
        told = {
            key: f"{before}, then {after}"
            for key, after in changes.items()
            if (before := getattr(record, key)) != after
        }
        run.models[kind] = record.model_copy(update=told)


def add_figures(run: RunFile, results: list[CameraResult], shared: Shared, seconds: float) -> None:
    """Note what the cameras came to, and after how many seconds."""
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
        stage_seconds=stages(shared),
        dropped=dropped,
        peak_memory_bytes=_peak_memory(),
    )
    if shared.provisional is not None:
        run.figures.provisional_solves = shared.provisional.figures.solves
        run.figures.provisional_failures = shared.provisional.figures.failures


def stages(shared: Shared) -> dict[str, float]:
    """Return the busy seconds of each stage so far."""
    inference = shared.detector.inference_seconds + shared.embedder.inference_seconds
    return {**shared.timers.seconds(), "inference": round(inference, 4)}


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
