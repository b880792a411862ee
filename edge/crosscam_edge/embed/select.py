"""Which embedder a run uses, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy import zoo
from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime import open_runtime
from crosscam_edge.embed.colour import ColourEmbedder
from crosscam_edge.embed.model import ModelEmbedder
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from crosscam_edge.embed.base import Embedder

_log = get_logger("embed")


def choose_embedder(
    name: str | None, *, threads: int = 0, streams: int = 1
) -> tuple[Embedder, str]:
    """Open the embedder of a run.

    Args:
        name: Bundle or zoo name, ``"colour"``, or None for the best at hand.
        threads: Threads of the engine; 0 for one a core.
        streams: Batches that are worked on at the same time.

    Returns:
        The embedder, and in words why it is this one.

    Raises:
        InputError: The name is unknown or the bundle damaged.
        RunError: It cannot be downloaded or run here.
    """
    if name in (ColourEmbedder.name, "color"):
        return ColourEmbedder(), "asked for"
    why = "asked for"
    if name is not None:
        bundle = zoo.resolve(name)
    else:
        found = zoo.best_available("embed")
        why = "best on this machine"
        if found is None:
            try:
                found = zoo.resolve("reid")
            except CrosscamError as error:
                _log.info("no embedder can be had", reason=str(error))
                return ColourEmbedder(), (
                    "no re-identification model is on this machine and none could be downloaded; "
                    "colours of clothes are much weaker (get a model with `crosscam models pull`)"
                )
            why = "downloaded: none was on this machine"
        bundle = found
    return ModelEmbedder(open_runtime(bundle, threads=threads, streams=streams)), why
