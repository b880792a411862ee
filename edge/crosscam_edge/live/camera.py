"""One live camera: a thread that connects, reads, and connects again for as long as it takes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from av.video.reformatter import VideoReformatter

from crosscam_deploy.log import get_logger
from crosscam_edge.backoff import Backoff
from crosscam_edge.live.clocks import CameraClock, ClockFigures
from crosscam_edge.live.connection import Connection, ConnectionFigures
from crosscam_edge.live.faults import FaultCode, SourceFault, fault_of
from crosscam_edge.live.latest import Latest
from crosscam_edge.live.rates import Pace
from crosscam_edge.sources.orientation import orientation_of
from crosscam_edge.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_edge.live.connection import Arrived

_log = get_logger("camera")
_STEADY_S = 5.0  # pictures for so long, and the camera is thought to be back
_RATE = 0.9  # share that the mean of the pace keeps at a picture
# Pictures that waited for the connection come at once: that is not the camera's pace.
_BURST_S = 1.0
_JOIN_S = 6.0  # a little more than FFmpeg's limits


class CameraState(StrEnum):
    """What a camera is doing.

    Attributes:
        CONNECTING: It is being asked for its stream for the first time.
        RUNNING: Pictures come.
        STALLED: It is connected, and pictures have stopped.
        BACKING_OFF: It is lost and is tried again by itself; so it stays until pictures come.
        FAILED: It is tried again too, but somebody should look: see the fault.
        STOPPED: It was told to.
    """

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    STOPPED = "stopped"


_FOR_PEOPLE = frozenset(
    {
        FaultCode.UNAUTHORISED,
        FaultCode.NOT_FOUND,
        FaultCode.NO_VIDEO,
        FaultCode.UNSUPPORTED,
        FaultCode.INTERNAL,
    }
)
"""Faults that do not go away by themselves."""


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """How a camera is.

    Attributes:
        camera_id: Its name.
        address: Where it is, without secrets.
        state: What it is doing.
        fault: What went wrong last; None when nothing has since pictures came.
        detail: In the words of whoever noticed, without secrets.
        fix: What the operator can do about it.
        since_ns: In this state since, UTC.
        failures: Attempts in a row that failed.
        connections: Times that it was connected.
        received: Pictures that came.
        dropped: Those that a newer one replaced before anybody took them.
        frame_rate: Pictures a second, of late; 0 while none come.
        last_ns: When the last one was taken, UTC; None before the first.
        size: `(width, height)` of the last one; None before the first.
        size_changes: Times that the size changed.
        look_rate: Pictures a second that are looked at, if so many come; 0 before the run.
        pace: Whether that is as many as are wanted.
        stream: What the present connection went through.
        clock: How its times come about.
    """

    camera_id: str
    address: str
    state: CameraState = CameraState.CONNECTING
    fault: FaultCode | None = None
    detail: str = ""
    fix: str = ""
    since_ns: int = 0
    failures: int = 0
    connections: int = 0
    received: int = 0
    dropped: int = 0
    frame_rate: float = 0.0
    last_ns: int | None = None
    size: tuple[int, int] | None = None
    size_changes: int = 0
    look_rate: float = 0.0
    pace: Pace = Pace.FULL
    stream: ConnectionFigures = field(default_factory=ConnectionFigures)
    clock: ClockFigures = field(default_factory=ClockFigures)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that waits to be looked at; converted only if somebody does.

    Attributes:
        camera_id: Whose.
        index: Number of the picture since the camera was started, from 0.
        time_ns: When it was taken, UTC.
        arrival_ns: When it arrived, UTC.
        raw: The decoded `av.VideoFrame`.
    """

    camera_id: str
    index: int
    time_ns: int
    arrival_ns: int
    raw: Any

    def frame(self) -> Frame:
        """Return it in BGR, upright.

        Raises:
            ValueError: It cannot be converted.
        """
        image: Any = VideoReformatter().reformat(self.raw, format="bgr24", threads=1).to_ndarray()
        upright = orientation_of(self.raw).upright(image)
        return Frame(self.camera_id, self.index, self.time_ns, upright)


class LiveCamera:
    """Keeps the newest picture of one camera at hand, whatever happens to the camera.

    Args:
        camera_id: Its name.
        shown: Its address without secrets.
        connect: Connects, or raises `SourceFault`.
        now_ns: UTC, from `UtcClock`.
        offset_ns: Added to every time of this camera.
        stall_s: Without a picture for longer, the camera is said to be stalled.
        backoff: How long to wait before it is tried again.
        changed: Called by the camera's thread after each picture and each change of state.
        source: Where its pictures come from, and how; another one with an equal source would get
            the same.

    Attributes:
        camera_id: As above.
        source: As above.
    """

    def __init__(
        self,
        camera_id: str,
        shown: str,
        connect: Callable[[], Connection],
        now_ns: Callable[[], int],
        *,
        offset_ns: int = 0,
        stall_s: float = 2.0,
        backoff: Backoff | None = None,
        changed: Callable[[], None] = lambda: None,
        source: object = None,
    ) -> None:
        self.camera_id, self.source = camera_id, source
        self._connect, self._now, self._changed = connect, now_ns, changed
        self._stall_ns = round(stall_s * 1e9)
        self._backoff = backoff or Backoff()
        self._clock = CameraClock(offset_ns)
        self._latest: Latest[Picture] = Latest()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._arrival_ns: int | None = None
        self._first_ns: int | None = None  # of this connection
        self._health = CameraHealth(camera_id, shown, since_ns=now_ns())
        self._thread = threading.Thread(target=self._run, name=f"camera-{camera_id}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stop.set()

    def stop(self) -> bool:
        """Hang up and end the thread; returns whether it ended in time."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        self._latest.clear()
        self._set(state=CameraState.STOPPED)
        return not self._thread.is_alive()

    def take(self) -> Picture | None:
        """Return the newest picture, which is then gone; None when there is no new one."""
        return self._latest.take()

    @property
    def waiting(self) -> int:
        """Pictures that wait to be taken: none or one."""
        return len(self._latest)

    def health(self) -> CameraHealth:
        """Return how the camera is, now."""
        with self._lock:
            found, arrival = self._health, self._arrival_ns
        found = replace(found, dropped=self._latest.dropped)
        silent = arrival is not None and self._now() - arrival > self._stall_ns
        if found.state is CameraState.RUNNING and silent and arrival is not None:
            found = replace(found, state=CameraState.STALLED, since_ns=arrival + self._stall_ns)
        return found if found.state is CameraState.RUNNING else replace(found, frame_rate=0.0)

    def wait(self, seconds: float) -> bool:
        """Wait, or return True as soon as the camera is stopped."""
        return self._stop.wait(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            fault = self._once()
            if self._stop.is_set():
                return
            pause = self._backoff.failed()
            broken = fault.code in _FOR_PEOPLE
            # Told once, not with each try: a hundred wrong addresses would fill the log.
            tell = _log.info if fault.code is self._health.fault else _log.warning
            self._set(
                state=CameraState.FAILED if broken else CameraState.BACKING_OFF,
                fault=fault.code,
                detail=fault.detail,
                fix=fault.fix,
                failures=self._backoff.failures,
            )
            tell(
                "camera lost",
                camera=self.camera_id,
                fault=str(fault.code),
                detail=fault.detail,
                again_in_s=round(pause, 1),
            )
            self._stop.wait(pause)

    def _once(self) -> SourceFault:
        """Connect and read until that is over; returns why it is."""
        self._clock.reconnected()
        self._first_ns = None
        connection = None
        try:
            connection = self._connect()
            self._set(connections=self._health.connections + 1, stream=connection.figures)
            began = self._now()
            for arrived in connection.pictures():
                if self._stop.is_set():
                    return SourceFault(FaultCode.ENDED, "stopped")
                self._receive(arrived)
                if self._backoff.failures and arrived.arrival_ns - began > _STEADY_S * 1e9:
                    self._backoff.worked()
        except SourceFault as fault:
            ran = self._health.state is CameraState.RUNNING
            if fault.code is FaultCode.TIMEOUT and ran:
                return SourceFault(FaultCode.STALLED, "no picture in time")
            return fault
        except Exception as error:  # nothing that a camera does may end its worker
            _log.warning("camera worker", camera=self.camera_id, reason=repr(error))
            return fault_of(error)
        finally:
            if connection is not None:
                self._hang_up(connection)
        return SourceFault(FaultCode.ENDED, "no more pictures")

    def _hang_up(self, connection: Connection) -> None:
        try:
            connection.close()
        except Exception as error:  # it is gone either way, and the worker tries again
            _log.warning("camera not closed", camera=self.camera_id, reason=repr(error))

    def _receive(self, arrived: Arrived) -> None:
        raw, before = arrived.raw, self._health
        taken = self._clock.date(arrived.arrival_ns, arrived.stream_ns, arrived.rtcp_ns)
        size = orientation_of(raw).size(raw.width, raw.height)
        rate = before.frame_rate
        if self._first_ns is None:
            self._first_ns = arrived.arrival_ns
        steady = arrived.arrival_ns - self._first_ns > _BURST_S * 1e9
        if steady and self._arrival_ns is not None and arrived.arrival_ns > self._arrival_ns:
            now = min(1000.0, 1e9 / (arrived.arrival_ns - self._arrival_ns))
            rate = 1.0 / (_RATE / rate + (1 - _RATE) / now) if rate else now
        silent = self._arrival_ns is not None and (
            arrived.arrival_ns - self._arrival_ns > self._stall_ns
        )
        with self._lock:
            self._arrival_ns = arrived.arrival_ns
            running = before.state is CameraState.RUNNING and not silent  # it was told as stalled
            self._health = replace(
                before,
                state=CameraState.RUNNING,
                fault=None,
                detail="",
                fix="",
                failures=0,
                since_ns=before.since_ns if running else arrived.arrival_ns,
                received=before.received + 1,
                frame_rate=rate,
                last_ns=taken,
                size=size,
                size_changes=before.size_changes + (before.size not in (None, size)),
                clock=replace(self._clock.figures),
            )
        self._latest.put(Picture(self.camera_id, before.received, taken, arrived.arrival_ns, raw))
        self._changed()

    def _set(self, **fields: Any) -> None:
        with self._lock:
            if "state" in fields and fields["state"] is not self._health.state:
                fields["since_ns"] = self._now()
            self._health = replace(self._health, **fields)
        self._changed()
