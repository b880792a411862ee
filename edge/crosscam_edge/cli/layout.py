"""The options that say how the pictures of any other data set are named and divided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_trainer.data.readers.generic import GenericLayout

Function = TypeVar("Function", bound="Callable[..., Any]")
_NEED_A_PATTERN = ("train_share", "split_seed", "query", "query_cameras", "intra_camera")


pattern_option = click.option(
    "--pattern",
    help="How pictures are named in any other set: '{person}/{camera}_{view}.png'. Fields: "
    "person, camera, clothes, tracklet, frame, split; view, ext and _ match anything.",
)
"""How pictures are named, where it does not matter how they are divided."""


def layout_options(function: Function) -> Function:
    """Add the options that `layout_of` takes, but for ``--intra-camera``."""
    options = (
        pattern_option,
        click.option(
            "--train-share",
            default=0.5,
            show_default=True,
            help="With --pattern without {split}: share of the people to train on.",
        ),
        click.option("--split-seed", default=0, show_default=True, help="Chooses these people."),
        click.option(
            "--query",
            type=click.Choice(["one", "all"]),
            default="one",
            show_default=True,
            help="Queries: one picture of each person and camera, or every test picture.",
        ),
        click.option(
            "--query-camera",
            "query_cameras",
            multiple=True,
            help="Queries: all test pictures of this camera, the gallery the rest; repeatable.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def layout_of(
    pattern: str | None,
    train_share: float,
    split_seed: int,
    query: str,
    query_cameras: tuple[str, ...],
    *,
    intra_camera: bool = False,
) -> GenericLayout | None:
    """Return the layout that the options of the running command describe; None without pattern.

    Raises:
        UsageError: The others were given without a pattern.
    """
    from crosscam_trainer.data.readers.generic import GenericLayout
    from crosscam_trainer.data.splits import PersonSplit

    if pattern is None:
        context = click.get_current_context()
        for name in _NEED_A_PATTERN:
            source = context.get_parameter_source(name)
            if source not in (None, click.core.ParameterSource.DEFAULT):
                option = "query-camera" if name == "query_cameras" else name.replace("_", "-")
                raise UsageError(f"--{option} without --pattern", fix="give --pattern as well")
        return None
    if query_cameras:
        query = "cameras"
    split = PersonSplit(train_share, split_seed, query, query_cameras)  # type: ignore[arg-type]
    return GenericLayout(pattern, split, intra_camera)
