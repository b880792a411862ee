"""Which bundle a run uses for a task, and why: what was asked for, is at hand, or can be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crosscam_deploy import zoo
from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.zoo.entries import Task

_log = get_logger("models")


class _Words(NamedTuple):
    zoo_name: str  # the zoo's name for the best model of a task
    kind: str


_WORDS: dict[Task, _Words] = {
    "detect": _Words("detector", "detection"),
    "embed": _Words("reid", "re-identification"),
}


def choose_bundle(name: str | None, task: Task, *, otherwise: str) -> tuple[Bundle | None, str]:
    """Find the model of a run.

    Args:
        name: Bundle or zoo name; None for the best at hand, or else for one to download.
        task: What it is for.
        otherwise: In words, what doing without a model comes to.

    Returns:
        The model, or None when no name was given and none can be had; and in words why. What comes
        with crosscam is taken where nothing else can be had.

    Raises:
        InputError: The name is unknown or the bundle damaged.
        RunError: It cannot be downloaded.
    """
    if name is not None:
        return zoo.resolve(name), "asked for"
    found = zoo.best_available(task, packaged=False)
    if found is not None:
        return found, "best on this machine"
    words = _WORDS[task]
    try:
        found = zoo.resolve(words.zoo_name)
        if zoo.is_packaged(found):
            return found, (
                f"comes with crosscam: no other {words.kind} model is on this machine and none "
                "could be downloaded (get a stronger one with `crosscam models pull`)"
            )
        return found, "downloaded: none was on this machine"
    except CrosscamError as error:
        _log.info("no model can be had", task=task, reason=str(error))
        return None, (
            f"no {words.kind} model is on this machine and none could be downloaded; {otherwise} "
            "(get a model with `crosscam models pull`)"
        )
