"""Opens the models of a run, and meanwhile loads what comes after."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscam_edge.detect import choose_detector
from crosscam_edge.embed.select import choose_embedder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.embed.base import Embedder


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run.

    Attributes:
        detector: Finds people.
        embedder: Tells them apart.
        why: In words, why it is this ``"detector"`` and this ``"embedder"``.
        streams: Images that are detected at the same time.
    """

    detector: Detector
    embedder: Embedder
    why: dict[str, str]
    streams: int


def cores(settings: SiteConfig) -> int:
    """Return the number of threads that a run may keep busy."""
    return settings.threads or len(os.sched_getaffinity(0))


@contextmanager
def open_models(
    settings: SiteConfig, *, cameras: int, meanwhile: str, live: bool = False
) -> Iterator[Models]:
    """Open the models of a run; they are closed at the end of the block.

    Engines compile graphs outside of the interpreter, so the rest of the pipeline, above all SciPy,
    is imported meanwhile: half a second less until the first frame.

    Args:
        settings: The run's settings.
        cameras: Number of cameras.
        meanwhile: Module that is imported.
        live: The run has no end: what its models take of memory is taken at once.

    Raises:
        InputError: A name is unknown or a bundle damaged.
        RunError: A model cannot be downloaded or run here.
    """
    threads, streams = settings.threads or 0, min(2, cores(settings))
    with ThreadPoolExecutor(1, thread_name_prefix="import") as pool:
        pipeline = pool.submit(importlib.import_module, meanwhile)
        detector, why_detector = choose_detector(
            settings.detector,
            min_confidence=settings.min_confidence,
            threads=threads,
            streams=streams,
            longest=settings.detector_size,
        )
        try:
            embedder, why_embedder = choose_embedder(
                # each camera embeds one frame at a time: more streams than cameras only split
                # threads
                settings.embedder,
                threads=threads,
                streams=min(streams, cameras),
                warm_up=live,
            )
        except BaseException:
            detector.close()
            raise
    try:
        pipeline.result()
        why = {"detector": why_detector, "embedder": why_embedder}
        yield Models(detector, embedder, why, streams)
    finally:
        detector.close()
        embedder.close()
