"""What a site file says about pairs of cameras: shared views, and how long the way takes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crosscam_edge.config.models import CameraConfig

#: Keys of a camera that only association reads: detections and tracks do not depend on them.
RELATION_KEYS = frozenset({"overlaps_with", "never_overlaps_with", "transit_seconds"})


class Mistake(ValueError):  # noqa: N818 - pydantic wants a ValueError, people get a UsageError
    """A value that is wrong because of others.

    Args:
        found: What is wrong, with the key path.
        expected: What would be right.
        fix: What to do.
    """

    def __init__(self, found: str, *, expected: str, fix: str) -> None:
        super().__init__(found)
        self.expected = expected
        self.fix = fix


def check_relations(cameras: Sequence[CameraConfig]) -> None:
    """Check that relations name other cameras of the site and do not contradict each other.

    Raises:
        Mistake: They do.
    """
    known = [camera.id for camera in cameras if camera.id is not None]
    for index, camera in enumerate(cameras):
        for key in sorted(RELATION_KEYS):
            for other in getattr(camera, key):
                _check_name(f"cameras[{index}].{key}", other, camera.id, known)
    overlapping, separate = pairs(cameras, "overlaps_with"), pairs(cameras, "never_overlaps_with")
    for pair in sorted(overlapping & separate, key=sorted):
        raise Mistake(
            f"the cameras {_both(pair)} are in overlaps_with and in never_overlaps_with",
            expected="one of the two, or neither: then the run decides",
            fix="remove one of them",
        )
    for (origin, target), seconds in least_transits(cameras).items():
        if seconds > 0 and frozenset((origin, target)) in overlapping:
            raise Mistake(
                f"the way from '{origin}' to '{target}' takes {seconds:g} s in transit_seconds, "
                "but overlaps_with says that they see the same ground",
                expected="no time between cameras with a common view: people are in both at once",
                fix="remove one of them",
            )


def _check_name(where: str, other: str, own: str | None, known: list[str]) -> None:
    if other == own:
        raise Mistake(
            f"{where} names the camera itself",
            expected="other cameras",
            fix=f"remove '{other}' there",
        )
    if other not in known:
        close = difflib.get_close_matches(other, known, n=1, cutoff=0.5)
        raise Mistake(
            f"{where} names '{other}', which is no camera here",
            expected="one of " + (", ".join(known) or "the cameras that have an id"),
            fix=f"did you mean '{close[0]}'?" if close else f"give that camera 'id: {other}'",
        )


def pairs(cameras: Iterable[CameraConfig], key: str) -> set[frozenset[str]]:
    """Return the unordered pairs of camera ids that a key of any of the two names.

    Args:
        cameras: With their ids.
        key: ``overlaps_with`` or ``never_overlaps_with``.
    """
    return {frozenset((str(c.id), other)) for c in cameras for other in getattr(c, key)}


def least_transits(cameras: Iterable[CameraConfig]) -> dict[tuple[str, str], float]:
    """Return the least seconds from one camera to another, by ordered pair of ids."""
    return {(str(c.id), other): s for c in cameras for other, s in c.transit_seconds.items()}


def _both(pair: frozenset[str]) -> str:
    return " and ".join(f"'{name}'" for name in sorted(pair))
