"""Settings of the per-camera tracker, in seconds and body heights so that they travel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from crosscam_edge.track.motion import MotionModel
from crosscam_kernels.errors import UsageError


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """What the tracker believes about people and detectors.

    No value depends on the frame rate or on the resolution: times are seconds, lengths are
    fractions of the height of the person's own box, confidences are the detector's.

    Attributes:
        high_confidence: Detections from here on are matched first and may start tracks.
        low_confidence: Detections from here on may continue a track; below, they are ignored.
        birth_confidence: A track needs one detection of at least this much to be confirmed ...
        candidate_confidence: ... but its beginning may be as faint as this.
        confirm_s: A track is confirmed when it has been seen for this long ...
        confirm_hits: ... and this many times.
        tentative_patience_s: A tentative track that is missed for longer is dropped.
        max_lost_s: A confirmed track that is missed for longer is removed.
        motion_lost_s: After this long without a sight, position alone cannot give an id back:
            appearance must agree.
        max_tracks: Cap on living tracks; the longest lost are removed first.
        exemplars: Embeddings remembered for each track.
        embed_every_s: A track is embedded again after this long at first; the interval grows with
            the number of its embeddings, so that they grow with the root of its length.
        emit_tentative: Also return tracks that are not confirmed yet, for callers that see the
            whole video before they publish (see `EndedTrack.confirmed`).
        min_evidence: Least log-likelihood ratio, in nats, for a detection to continue a track.
        doubt: Looks are consulted where motion prefers its choice by at most so many nats; two
            crops can say up to 24 about a swap.
        duplicate_iou: A free detection that overlaps a used one this much starts no track.
        min_inside: A missed track whose predicted box is less inside the picture has left.
        motion: How people move and detectors err.
    """

    high_confidence: float = 0.45
    low_confidence: float = 0.1
    birth_confidence: float = 0.6
    candidate_confidence: float = 0.5
    confirm_s: float = 0.2
    confirm_hits: int = 2
    tentative_patience_s: float = 0.35
    max_lost_s: float = 10.0
    motion_lost_s: float = 1.0
    max_tracks: int = 512
    exemplars: int = 8
    embed_every_s: float = 0.5
    emit_tentative: bool = False
    min_evidence: float = 0.0
    doubt: float = 10.0
    duplicate_iou: float = 0.7
    min_inside: float = 0.5
    motion: MotionModel = field(default_factory=MotionModel)

    @classmethod
    def above(cls, least: float, *, embed_every_s: float) -> Self:
        """Return the defaults for a detector that drops boxes below a confidence of `least`."""
        usual = cls()
        return cls(
            low_confidence=least,
            high_confidence=max(least, usual.high_confidence),
            candidate_confidence=max(least, usual.candidate_confidence),
            birth_confidence=max(least, usual.birth_confidence),
            embed_every_s=embed_every_s,
        )

    def __post_init__(self) -> None:
        ordered = (
            self.low_confidence,
            self.high_confidence,
            self.candidate_confidence,
            self.birth_confidence,
        )
        if not 0 <= ordered[0] <= ordered[1] <= ordered[2] <= ordered[3] <= 1:
            raise UsageError(
                "tracker confidences are low {}, high {}, candidate {}, birth {}".format(*ordered),
                expected="0 <= low_confidence <= high_confidence <= candidate_confidence <= "
                "birth_confidence <= 1",
                fix="order the four thresholds",
            )
        for name in ("confirm_hits", "max_tracks", "exemplars"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"tracker setting {name} is {getattr(self, name)}",
                    expected="at least 1",
                    fix=f"raise {name}",
                )
        for name in (
            "confirm_s",
            "tentative_patience_s",
            "max_lost_s",
            "motion_lost_s",
            "embed_every_s",
        ):
            if not getattr(self, name) >= 0:
                raise UsageError(
                    f"tracker setting {name} is {getattr(self, name)}",
                    expected="seconds, not negative",
                    fix=f"set {name} to 0 or more",
                )
