"""From a protocol and the test pictures to the arguments of `crosscam_kernels.retrieval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_trainer.data.types import EvaluationProtocol, Sample

RetrievalProtocol = Literal["standard", "clothes_changing", "same_clothes", "tracklet", "any"]


@dataclass(frozen=True, slots=True)
class Side:
    """The queries, or the gallery, of one protocol: what is ranked, and its labels.

    Attributes:
        pictures: `(P,)` int64, positions in the split of the pictures that take part.
        unit: `(P,)` int64, the ranked row that each of them belongs to, 0 to `N - 1`: itself, or
            its tracklet, whose feature is then the mean over its pictures.
        ids: `(N,)` int64, person.
        cameras: `(N,)` int64.
        clothes: `(N,)` int64; -1 where not labelled.
        tracklets: `(N,)` int64; -1 where there is none.
    """

    pictures: NDArray[np.int64]
    unit: NDArray[np.int64]
    ids: NDArray[np.int64]
    cameras: NDArray[np.int64]
    clothes: NDArray[np.int64]
    tracklets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def kernel_protocol(protocol: EvaluationProtocol) -> RetrievalProtocol:
    """Return what `retrieval_metrics` calls the protocol's rule.

    Raises:
        InputError: There is no such rule (clothes without cameras).
    """
    rules: dict[tuple[str, str], RetrievalProtocol] = {
        ("camera", "any"): "standard",
        ("camera", "changed"): "clothes_changing",
        ("camera", "same"): "same_clothes",
        ("tracklet", "any"): "tracklet",
        ("none", "any"): "any",
    }
    rule = rules.get((protocol.same_view, protocol.clothes))
    if rule is None:
        raise InputError(
            f"protocol {protocol.name!r} ignores the same {protocol.same_view} and asks for "
            f"{protocol.clothes} clothes",
            expected="conditions on clothes together with same_view='camera'",
        )
    return rule


def sides(
    protocol: EvaluationProtocol, query: Sequence[Sample], gallery: Sequence[Sample]
) -> tuple[Side, Side]:
    """Choose the pictures that take part, and lay out their labels.

    Args:
        protocol: How.
        query: All queries of the data set.
        gallery: Its whole gallery.

    Raises:
        InputError: The protocol needs clothes or tracklets that are not labelled.
    """
    found = (
        _side(protocol, query, protocol.query_cameras),
        _side(protocol, gallery, protocol.gallery_cameras),
    )
    for side in found:
        for needed, labels, what in (
            (protocol.clothes != "any", side.clothes, "clothes"),
            (protocol.same_view == "tracklet", side.tracklets, "tracklets"),
        ):
            # A distractor has no clothes, and needs none: it is wrong in any.
            if needed and np.any((labels < 0) & (side.ids >= 0)):
                raise InputError(
                    f"protocol {protocol.name!r} needs {what}, which some pictures do not have",
                    expected=f"labelled {what} on every query and gallery picture",
                )
    return found


def answerable(protocol: EvaluationProtocol, query: Side, gallery: Side) -> NDArray[np.bool_]:
    """Which queries have a right answer; the others are left out of all means.

    Args:
        protocol: How.
        query: From `sides`, `(Q,)`.
        gallery: From `sides`.

    Returns:
        `(Q,)`.
    """
    order = np.argsort(gallery.ids, kind="stable")
    ids = gallery.ids[order]
    starts = np.searchsorted(ids, query.ids, side="left")
    ends = np.searchsorted(ids, query.ids, side="right")
    right = np.zeros(len(query), np.bool_)
    for k, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        same = order[start:end]
        good = np.ones(len(same), np.bool_)
        if protocol.same_view == "camera":
            good &= gallery.cameras[same] != query.cameras[k]
        elif protocol.same_view == "tracklet":
            good &= gallery.tracklets[same] != query.tracklets[k]
        if protocol.clothes != "any":
            equal = gallery.clothes[same] == query.clothes[k]
            good &= equal if protocol.clothes == "same" else ~equal
        right[k] = good.any()
    return right


def _side(
    protocol: EvaluationProtocol, samples: Sequence[Sample], cameras: tuple[int, ...] | None
) -> Side:
    pictures = [k for k, s in enumerate(samples) if cameras is None or s.camera in cameras]
    if protocol.unit == "picture":
        unit, first = list(range(len(pictures))), pictures
    else:
        unit, first = _by_tracklet(samples, pictures)

    def labels(values: list[int | None]) -> NDArray[np.int64]:
        return np.array([-1 if value is None else value for value in values], np.int64)

    return Side(
        pictures=np.array(pictures, np.int64),
        unit=np.array(unit, np.int64),
        ids=labels([samples[k].person for k in first]),
        cameras=labels([samples[k].camera for k in first]),
        clothes=labels([samples[k].clothes for k in first]),
        tracklets=labels([samples[k].tracklet for k in first]),
    )


def _by_tracklet(samples: Sequence[Sample], pictures: list[int]) -> tuple[list[int], list[int]]:
    """Return the unit of each picture, and the first picture of each unit."""
    number: dict[int, int] = {}
    unit, first = [], []
    for k in pictures:
        tracklet = samples[k].tracklet
        if tracklet is None:
            raise InputError(
                f"{samples[k].path} is in no tracklet", expected="tracklets for this protocol"
            )
        if tracklet not in number:
            number[tracklet] = len(number)
            first.append(k)
        unit.append(number[tracklet])
    return unit, first
