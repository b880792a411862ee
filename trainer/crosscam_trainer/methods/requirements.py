"""What methods ask of data and models, with messages that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.log import Logger
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from crosscam_trainer.data.types import ReIDData

_log = Logger("trainer")


def need_intra_camera_labels(method: str, data: ReIDData) -> None:
    """Check that labels were made inside each camera, of two cameras or more.

    Raises:
        InputError: They were not.
    """
    cameras = len({sample.camera for sample in data.train})
    if cameras < 2:
        raise InputError(
            f"{method}: the training split of {data.root} has {cameras} camera(s)",
            expected="two or more, to learn what does not depend on them",
            fix="train clip_reid on it",
        )
    if data.intra is None:
        raise InputError(
            f"{method}: labels of {data.root} hold across cameras",
            expected="labels that were made inside each camera",
            fix="set data.labels=intra to forget who is who in other cameras, or train clip_reid",
        )


def need_clothes(method: str, data: ReIDData) -> None:
    """Check that outfits are labelled, and that somebody changes clothes.

    Raises:
        InputError: They are not, or nobody does.
    """
    missing = sum(sample.clothes is None for sample in data.train)
    if not data.has_clothes or missing:
        raise InputError(
            f"{method}: {missing} of {len(data.train)} training pictures in {data.root} have no "
            "clothes label",
            expected="an outfit for each",
            fix="take a data set with outfits (PRCC, LTCC, VC-Clothes, simulated people), a "
            "pattern with {clothes}, or the method ccafl+ccaf, which needs masks and no outfits",
        )
    if len({(s.person, s.clothes) for s in data.train}) == len({s.person for s in data.train}):
        raise InputError(
            f"{method}: every person in {data.root} wears one outfit",
            expected="people who change clothes, or there is nothing to learn about it",
            fix="train clip_reid or ccafl on it",
        )


def need_masks(method: str, data: ReIDData) -> None:
    """Check that every training picture has a clothes mask.

    Raises:
        InputError: Some have none.
    """
    missing = sum(sample.mask is None for sample in data.train)
    if missing:
        raise InputError(
            f"{method}: {missing} of {len(data.train)} training pictures in {data.root} have no "
            "clothes mask",
            expected="a mask for each, to hide clothes",
            fix="name their folder as data.masks, such as a human parser's; data.masks=box takes a "
            "rectangle in the middle for clothes",
        )


def say_naive(method: str, data: ReIDData) -> None:
    """Say so when labels of each camera are trained on as if they were people."""
    if data.intra is not None:
        _log.warning(
            "labels hold inside a camera only, and are used as if each was another person: "
            "pictures of one person in two cameras are pushed apart",
            method=method,
            labels=data.intra.labels,
        )


def trainable(module: nn.Module) -> tuple[tuple[str, nn.Parameter], ...]:
    """Return the parameters of a module that want gradients, by name."""
    return tuple((name, p) for name, p in module.named_parameters() if p.requires_grad)
