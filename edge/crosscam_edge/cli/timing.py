"""The options that say how models are timed and what they must reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_deploy.verify import Gates

Function = TypeVar("Function", bound="Callable[..., Any]")


def _parse_gates(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Read ``--gate`` options; `checked_gates` makes limits of them."""
    from crosscam_deploy.verify import Gates

    found: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if name not in Gates.model_fields or not equals:
            raise click.BadParameter(
                f"{value!r} is not NAME=VALUE with a NAME of {', '.join(Gates.model_fields)}"
            )
        found[name] = None if text == "off" else text
    return found


def timing_options(function: Function) -> Function:
    """Add ``batches``, ``rounds``, ``seconds`` and ``gates``."""
    options = (
        click.option(
            "--batch",
            "batches",
            multiple=True,
            type=click.IntRange(min=1),
            help="Batch size to time; 1 and 8 for crops, 1 for frames if not given; repeatable.",
        ),
        click.option(
            "--rounds",
            type=click.IntRange(min=0),
            default=5,
            show_default=True,
            help="Turns of each candidate; 0: compare answers only, where nothing is chosen.",
        ),
        click.option(
            "--seconds",
            type=click.FloatRange(min=0),
            default=0.3,
            show_default=True,
            help="Least length of a turn of a candidate in a round.",
        ),
        click.option(
            "--gate",
            "gates",
            multiple=True,
            callback=_parse_gates,
            metavar="NAME=VALUE",
            help="What a candidate must reach, for example max_mean_ap_drop=0.01 or "
            "min_cosine=off; repeatable.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def default_batches(task: str) -> tuple[int, ...]:
    """Return the batch sizes that are timed when none is given."""
    return (1, 8) if task == "embed" else (1,)


def checked_gates(gates: dict[str, Any]) -> Gates:
    """Return the limits that ``--gate`` gave.

    Raises:
        UsageError: A value is out of its range.
    """
    from pydantic import ValidationError

    from crosscam_deploy.verify import Gates

    try:
        return Gates(**gates)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"--gate {first['loc'][0]}={first['input']}: {first['msg']}") from None
