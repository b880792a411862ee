"""The end of a run: identities over all cameras, and everything that is written."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crosscam_edge.associate import associate
from crosscam_edge.associate.site import site_knowledge
from crosscam_edge.offline.people import embedding_batches, joined_tracklets, track_batches
from crosscam_edge.offline.prepare import camera_info
from crosscam_edge.offline.provisional import ProvisionalAssociation
from crosscam_edge.sinks.files import write_outputs, write_parquet
from crosscam_edge.sinks.run_file import (
    CalibrationRecord,
    RunStatus,
    identities_of,
    transits_of,
    write_identities,
    write_run,
)
from crosscam_edge.sinks.schema import EMBEDDINGS_SCHEMA
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_edge.associate import AssociationConfig
    from crosscam_edge.offline.camera import CameraResult, Shared
    from crosscam_edge.offline.plan import CameraPlan
    from crosscam_edge.sinks.run_file import RunFile
    from crosscam_edge.sinks.schema import CameraInfo

PICTURES = {"video": "videos", "crops": "pictures of people", "report": "the report"}


def finish(
    out: Path,
    run: RunFile,
    results: list[CameraResult],
    shared: Shared,
    failed: dict[str, str],
) -> int:
    """Associate and write; fills the rest of `run`.

    Args:
        out: Output folder.
        run: ``run.json`` so far.
        results: One for each camera.
        shared: What the cameras had in common.
        failed: Error by camera that could not be finished.

    Returns:
        Number of identities seen in more than one camera.

    Raises:
        CrosscamError: The output folder cannot be written.
    """
    timers, progress = shared.timers, shared.progress
    progress.stage("associating")
    dim = shared.embedder.dim
    tracklets = [t for result in results for t in joined_tracklets(result.verdict, dim)]
    config = _site([r.plan for r in results], shared)
    with timers.measure("associate"):
        association = shared.provisional.reuse(tracklets, config) if shared.provisional else None
        if association is None:
            association = associate(tracklets, model_id=shared.embedder.model_id, config=config)
    ids = {a.key: a.global_id for a in association.assignments}
    by_key = {t.key: t for t in tracklets}
    identities = identities_of(association.assignments, by_key)
    dropped: Counter[str] = Counter()
    fps = shared.settings.process_fps
    cameras = [camera_info(r.plan, r.last_index + 1, fps) for r in results]
    progress.stage("writing")
    with timers.measure("write"):
        write_outputs(out, track_batches(results, ids, by_key, dropped), cameras)
        write_parquet(
            out / "embeddings.parquet",
            embedding_batches(results, ids, shared.embedder.model_id),
            EMBEDDINGS_SCHEMA,
        )
        write_identities(out, identities)
    run.figures.dropped |= {reason: count for reason, count in dropped.items() if count}
    run.figures.tracklets = len(tracklets)
    run.figures.people = len(identities.identities)
    run.calibration = CalibrationRecord.from_calibration(association.calibration)
    run.transits = transits_of(association.transits)
    run.status = RunStatus.INTERRUPTED if shared.stop.is_set() else RunStatus.COMPLETE
    run.error = "; ".join(f"{name}: {error}" for name, error in failed.items()) or None
    run.finished = datetime.now(UTC)
    write_run(out, run)
    _pictures(out, run, cameras, shared)
    done = run.status is RunStatus.COMPLETE and not failed and not run.missing
    if done and not shared.settings.outputs.cache:
        shutil.rmtree(out / "cache", ignore_errors=True)
    else:
        for result in results:  # rebuilt by the next run from the checkpoints
            result.tracks.path.unlink(missing_ok=True)
            result.embeddings.path.unlink(missing_ok=True)
    return sum(len(identity.cameras) > 1 for identity in identities.identities)


def provisional(plans: list[CameraPlan], shared: Shared) -> ProvisionalAssociation:
    """Begin to associate, as at the end, what the cameras of a run have seen so far."""
    return ProvisionalAssociation(
        [plan.camera_id for plan in plans],
        dim=shared.embedder.dim,
        model_id=shared.embedder.model_id,
        config=_site(plans, shared),
        progress=shared.progress,
        timers=shared.timers,
    )


def _site(plans: list[CameraPlan], shared: Shared) -> AssociationConfig:
    # The id of a plan is the one of the run, which a configuration need not have.
    named = [p.config.model_copy(update={"id": p.camera_id}) for p in plans]
    return site_knowledge(named, shared.learned)


def _pictures(out: Path, run: RunFile, cameras: list[CameraInfo], shared: Shared) -> None:
    """Videos, crops and report; what cannot be made costs nothing else, and the tables are there.

    Whoever interrupts a run waits neither for drawing nor for crops: the same command makes them.
    """
    # imported late: only the end of a run needs an encoder and a template engine
    from crosscam_edge.report.html import write_report
    from crosscam_edge.report.pictures import make_pictures

    wanted = shared.settings.outputs
    try:
        with shared.timers.measure("render"):
            made = make_pictures(
                out,
                cameras,
                video=wanted.video,
                crops=wanted.crops or wanted.report,
                stage=shared.progress.stage,
                progress=shared.progress.pictures,
                stop=shared.stop.is_set,
            )
        run.missing = made.missing
        run.warnings += made.errors
        if made.missing and shared.stop.is_set() and run.status is RunStatus.COMPLETE:
            names = " and ".join(PICTURES[name] for name in made.missing)
            run.warnings.append(f"interrupted: {names} are missing; the same command makes them")
        if wanted.report:
            shared.progress.stage("writing the report")
            run.figures.stage_seconds = shared.timers.seconds()
            write_run(out, run)
            with shared.timers.measure("render"):
                write_report(out)
        if not wanted.crops:
            shutil.rmtree(out / "crops", ignore_errors=True)
    except CrosscamError as error:
        run.missing = [*run.missing, "report"] if wanted.report else run.missing
        run.warnings.append(f"pictures or report could not be made: {error}")
