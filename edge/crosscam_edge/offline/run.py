"""`process`: the whole offline run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crosscam_edge.offline.lock import FolderLock
from crosscam_edge.offline.prepare import open_folder, plan_cameras, prepare_folder
from crosscam_edge.offline.progress import SilentProgress
from crosscam_edge.opening import open_models

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.offline.progress import Progress
    from crosscam_edge.sinks.run_file import RunFile


_PIPELINE = "crosscam_edge.offline.pipeline"


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
    began = time.perf_counter()
    options, progress = options or ProcessOptions(), progress or SilentProgress()
    plans, warnings = plan_cameras(settings, videos, out, keep_going=options.keep_going)
    open_folder(out)
    with FolderLock(out):
        warnings += prepare_folder(out, plans, overwrite=options.overwrite)
        with open_models(settings, cameras=len(plans), meanwhile=_PIPELINE) as models:
            # not at the top: it was loaded while the models were opened
            from crosscam_edge.offline.pipeline import carry_out

            return carry_out(
                plans,
                out,
                settings,
                models,
                options=options,
                progress=progress,
                stop=stop or threading.Event(),
                warnings=warnings,
                began=began,
            )
