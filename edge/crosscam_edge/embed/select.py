"""Which embedder a run uses, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.runtime import open_runtime
from crosscam_edge.embed.colour import ColourEmbedder
from crosscam_edge.embed.model import ModelEmbedder
from crosscam_edge.model_choice import choose_bundle

if TYPE_CHECKING:
    from crosscam_edge.embed.base import Embedder


def choose_embedder(
    name: str | None, *, threads: int = 0, streams: int = 1, warm_up: bool = False
) -> tuple[Embedder, str]:
    """Open the embedder of a run.

    Args:
        name: Bundle or zoo name, ``"colour"``, or None for the best at hand.
        threads: Threads of the engine; 0 for one a core.
        streams: Batches that are worked on at the same time.
        warm_up: Run it in all sizes of batch before, so that none is slow, or takes memory, later.

    Returns:
        The embedder, and in words why it is this one.

    Raises:
        InputError: The name is unknown or the bundle damaged.
        RunError: It cannot be downloaded or run here.
    """
    if name in (ColourEmbedder.name, "color"):
        return ColourEmbedder(), "asked for"
    bundle, why = choose_bundle(name, "embed", otherwise="colours of clothes are much weaker")
    if bundle is None:
        return ColourEmbedder(), why
    runtime = open_runtime(bundle, threads=threads, streams=streams)
    embedder = ModelEmbedder(runtime)
    if warm_up:
        runtime.warm_up()
    return embedder, why
