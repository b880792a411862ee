"""Where people were and when: stays in cameras, and how they are drawn on a time axis."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from crosscam_edge.report.colours import camera_hex, hex_of, identity_rgb
from crosscam_edge.sinks.run_file import DATED_FROM_NS, utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_edge.sinks.run_file import IdentityRecord
    from crosscam_edge.sinks.schema import CameraInfo

MAX_BARS = 3000
NONE = "\N{EN DASH}"  # shown where there is no value
MINUS = "\N{MINUS SIGN}"
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_JOIN_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Stay:
    """A time that one identity was in one camera.

    Attributes:
        camera_id: The camera.
        start_ns: UTC.
        end_ns: UTC, not before `start_ns`.
    """

    camera_id: str
    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Span:
    """The time axis of a run in UTC nanoseconds."""

    start_ns: int
    end_ns: int

    def at(self, time_ns: int) -> float:
        """Return the place of a time in percent of the axis."""
        length = max(1, self.end_ns - self.start_ns)
        return round(100 * (time_ns - self.start_ns) / length, 3)

    @property
    def dated(self) -> bool:
        """Whether the recordings say when they were made; otherwise they start at 1970."""
        return self.start_ns >= DATED_FROM_NS

    @property
    def days(self) -> bool:
        """Whether the axis goes over midnight, so times need a date."""
        return utc(self.start_ns).date() != utc(self.end_ns).date()

    @property
    def text(self) -> str:
        """When it was, for people."""
        begin, end = utc(self.start_ns), utc(self.end_ns)
        if not self.dated:
            return f"{duration((self.end_ns - self.start_ns) / 1e9)}, counted from the start"
        last = f"{end:%Y-%m-%d %H:%M:%S}" if self.days else f"{end:%H:%M:%S}"
        return f"{begin:%Y-%m-%d %H:%M:%S} to {last} UTC"

    def clock(self, time_ns: int) -> str:
        """Return a time of day, with the date when the axis needs it."""
        return f"{utc(time_ns):%m-%d %H:%M:%S}" if self.days else f"{utc(time_ns):%H:%M:%S}"


def span_of(identities: Sequence[IdentityRecord], cameras: Sequence[CameraInfo]) -> Span:
    """Return the axis that holds all recordings and all people."""
    starts = [c.start_time_ns for c in cameras] + [i.start_ns for i in identities]
    ends = [c.time_of(c.frames) for c in cameras] + [i.end_ns for i in identities]
    start = min(starts, default=0)
    return Span(start, max([*ends, start + 1_000_000_000]))


def stays_of(identity: IdentityRecord) -> list[Stay]:
    """Return the stays of an identity by time; tracklets at most 2 s apart are one stay."""
    open_: dict[str, Stay] = {}
    done: list[Stay] = []
    for t in identity.tracklets:
        before = open_.get(t.camera_id)
        if before is not None and t.start_ns - before.end_ns <= _JOIN_NS:
            end = max(before.end_ns, t.end_ns)
            open_[t.camera_id] = Stay(t.camera_id, before.start_ns, end)
            continue
        if before is not None:
            done.append(before)
        open_[t.camera_id] = Stay(t.camera_id, t.start_ns, t.end_ns)
    return sorted([*done, *open_.values()], key=lambda s: (s.start_ns, s.camera_id))


def duration(seconds: float) -> str:
    """Return a length of time for people: ``0.4 s``, ``38 s``, ``2 min 5 s``, ``1 h 4 min``."""
    sign = MINUS if seconds < 0 else ""
    value = abs(seconds)
    if value < 10:
        return f"{sign}{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{sign}{whole} s"
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60} s"
    return f"{sign}{whole // 3600} h {whole % 3600 // 60} min"


def steps_of(stays: Sequence[Stay], span: Span, numbers: dict[str, int]) -> list[dict[str, Any]]:
    """Return the list of a journey: camera, times, and the gap before each stay."""
    steps = []
    latest: int | None = None
    for stay in stays:
        gap = ""
        if latest is not None:
            apart = (stay.start_ns - latest) / 1e9
            gap = f"{duration(apart)} later" if apart >= 0.05 else "at the same time"
        latest = stay.end_ns if latest is None else max(latest, stay.end_ns)
        times = f"{span.clock(stay.start_ns)} to {span.clock(stay.end_ns)}"
        colour = camera_hex(numbers[stay.camera_id])
        steps.append({"camera": stay.camera_id, "times": times, "gap": gap, "colour": colour})
    return steps


def bars_of(stays: Sequence[Stay], span: Span, numbers: dict[str, int]) -> list[dict[str, Any]]:
    """Return the bars of one identity on the time axis."""
    return [
        {
            "x": span.at(s.start_ns),
            "width": max(0.4, span.at(s.end_ns) - span.at(s.start_ns)),
            "colour": camera_hex(numbers[s.camera_id]),
            "title": f"{s.camera_id}, {span.clock(s.start_ns)}, {duration(s.seconds)}",
        }
        for s in stays
    ]


def timeline(
    stays: dict[int, list[Stay]], cameras: Sequence[CameraInfo], span: Span
) -> dict[str, Any]:
    """Lay all stays out in one lane per camera; stays at one time get rows of their own.

    Args:
        stays: By global id.
        cameras: The lanes.
        span: The axis.

    Returns:
        What the template draws. At most `MAX_BARS` bars, the longest stays.
    """
    every = [(stay, global_id) for global_id, list_ in stays.items() for stay in list_]
    every.sort(key=lambda pair: pair[0].seconds, reverse=True)
    drawn = every[:MAX_BARS]
    lanes = []
    for camera in cameras:
        mine = [pair for pair in drawn if pair[0].camera_id == camera.camera_id]
        mine.sort(key=lambda pair: (pair[0].start_ns, pair[1]))
        rows, placed = _rows(mine, span)
        pitch = 15 if rows <= 10 else max(5, 150 // rows)
        bars = [
            {
                "id": global_id,
                "x": span.at(stay.start_ns),
                "width": max(0.25, round(span.at(stay.end_ns) - span.at(stay.start_ns), 3)),
                "y": row * pitch + 1,
                "colour": hex_of(identity_rgb(global_id)),
                "title": f"person {global_id}, {span.clock(stay.start_ns)} to "
                f"{span.clock(stay.end_ns)} ({duration(stay.seconds)})",
            }
            for row, stay, global_id in placed
        ]
        lanes.append(
            {
                "name": camera.camera_id,
                "colour": camera_hex(camera.number),
                "bars": bars,
                "height": max(1, rows) * pitch + 2,
                "bar": pitch - 3 if pitch > 6 else pitch - 1,
            }
        )
    return {"lanes": lanes, "ticks": _ticks(span), "left_out": len(every) - len(drawn)}


def _rows(stays: list[tuple[Stay, int]], span: Span) -> tuple[int, list[tuple[int, Stay, int]]]:
    """Give each stay the lowest row that is free by then; stays come by start."""
    pad = (span.end_ns - span.start_ns) // 300
    busy: list[tuple[int, int]] = []  # end, row
    free: list[int] = []
    rows, placed = 0, []
    for stay, global_id in stays:
        while busy and busy[0][0] <= stay.start_ns:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            row = heapq.heappop(free)
        else:
            row, rows = rows, rows + 1
        heapq.heappush(busy, (stay.end_ns + pad, row))
        placed.append((row, stay, global_id))
    return rows, placed


def _ticks(span: Span) -> list[dict[str, Any]]:
    seconds = (span.end_ns - span.start_ns) / 1e9
    step = next((s for s in _STEPS_S if seconds / s <= 6), 86400 * max(1, round(seconds / 518400)))
    first = -(-span.start_ns // (step * 10**9)) * step * 10**9
    times = [utc(first) + timedelta(seconds=step * k) for k in range(int(seconds // step) + 1)]
    form = "%m-%d %H:%M" if span.days else "%H:%M:%S" if step < 60 else "%H:%M"
    ticks = []
    for k, time in enumerate(times):
        at = span.at(first + k * step * 10**9)
        if at <= 100:
            ticks.append({"at": at, "text": time.strftime(form)})
    return ticks
