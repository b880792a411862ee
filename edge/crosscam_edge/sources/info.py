"""What is known of a source before it is read, and what happened while it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What `probe` found.

    Attributes:
        path: The file or folder.
        kind: Whether it is a video file or a folder of pictures.
        width: Width of the first frame as delivered (rotation applied), pixels.
        height: Height of the first frame as delivered, pixels.
        frame_rate: Nominal frames per second, > 0.
        frame_rate_assumed: True when the source does not say its rate.
        timestamps: Whether frames carry presentation times; otherwise the rate makes them.
        frames: Number of frames as far as the container says or implies; None when unknown.
        container: Format name, for example ``"avi"``.
        codec: Codec name, for example ``"h264"``.
    """

    path: Path
    kind: Literal["video", "images"]
    width: int
    height: int
    frame_rate: float
    frame_rate_assumed: bool
    timestamps: bool
    frames: int | None
    container: str
    codec: str


@dataclass(slots=True)
class SourceStats:
    """Counters of one pass over a source; everything that was not delivered is counted.

    Attributes:
        decoded: Frames that the decoder produced.
        delivered: Frames given to the caller.
        strided: Frames left out on purpose because of a lower processing rate.
        corrupt_packets: Compressed packets the decoder refused.
        corrupt_frames: Frames that were damaged (concealed by the decoder) or unusable.
        unusable_frames: Part of `corrupt_frames` that could not be delivered at all.
        read_errors: Times the container could not be read on.
        repaired_timestamps: Frames whose presentation time was missing or out of order.
        size_changes: Times the picture size changed inside the stream.
        ended_early: Frames are missing at the end, compared with what the container promised.
    """

    decoded: int = 0
    delivered: int = 0
    strided: int = 0
    corrupt_packets: int = 0
    corrupt_frames: int = 0
    unusable_frames: int = 0
    read_errors: int = 0
    repaired_timestamps: int = 0
    size_changes: int = 0
    ended_early: bool = False

    def warnings(self, info: SourceInfo) -> list[str]:
        """Return one sentence for each thing a user should know about this source."""
        notes: list[str] = []
        if info.frame_rate_assumed:
            notes.append(
                f"the source does not say its frame rate; {info.frame_rate:g} frames/s assumed "
                "(give frame_rate in the configuration if that is wrong)"
            )
        elif not info.timestamps:
            notes.append(
                "the source has no timestamps; times follow from its nominal "
                f"{info.frame_rate:g} frames/s"
            )
        if self.ended_early:
            promised = f" of about {info.frames}" if info.frames else ""
            notes.append(f"the source ends early: {self.decoded} frames{promised} could be decoded")
        for count, what in (
            (self.corrupt_packets, "corrupted packets skipped"),
            (self.corrupt_frames, "damaged frames"),
            (self.read_errors, "read errors"),
            (
                self.repaired_timestamps if info.timestamps else 0,
                "missing or disordered timestamps repaired",
            ),
            (self.size_changes, "changes of the picture size inside the stream"),
        ):
            if count:
                notes.append(f"{what}: {count}")
        return notes
