"""Swaps that another process asks a live run for: by files in the run's own folder.

Whoever may write there may do so; no port is open for it. The request is taken once, the answer is
written over as the swap goes on.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosscam_deploy.log import get_logger
from crosscam_edge.calibration.file import learned_from
from crosscam_edge.embed.select import choose_embedder
from crosscam_edge.gallery.reader import Reader
from crosscam_edge.live.swap import KeptCrop, SwapReport, SwapState
from crosscam_edge.sinks.atomic import write_text
from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import CrosscamError, InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.live.run import LiveRun
    from crosscam_edge.live.swap import ModelSwap

_log = get_logger("swap")
REQUEST, ANSWER = "swap-request.json", "swap-answer.json"
_HEARD_S = 10.0
_POLL_S = 0.2
_MOST_BYTES = 65_536


class SwapRequest(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=8, max_length=64)
    embedder: str = Field(min_length=1, max_length=4096)
    beside_s: float = Field(ge=0, le=86_400)
    calibration: str | None = Field(default=None, min_length=1, max_length=4096)

    @classmethod
    def of(cls, embedder: str, beside_s: float, calibration: str | None) -> Self:
        """Return a request under a name of its own."""
        return cls(
            id=secrets.token_hex(8), embedder=embedder, beside_s=beside_s, calibration=calibration
        )


class SwapRequests:
    """Carries out what is asked for; `poll` it every second or so, from one thread.

    Args:
        folder: Of the run; what was asked for before it began is forgotten.
        run: The run.
        threads: Of the new model's engine; 0 for one a core.
        streams: Batches that it works on at the same time.
    """

    def __init__(self, folder: Path, run: LiveRun, *, threads: int, streams: int) -> None:
        self._folder, self._run = folder, run
        self._threads, self._streams = threads, streams
        self._going: tuple[str, ModelSwap, SwapReport | None] | None = None
        for name in (REQUEST, ANSWER):
            (folder / name).unlink(missing_ok=True)

    def poll(self) -> None:
        """Take a request, and tell how the last one stands where that has changed."""
        if self._going is not None:
            name, swap, told = self._going
            report = swap.report
            if report != told:
                self._going = name, swap, report
                self._answer(name, report)
        path = self._folder / REQUEST
        if not path.is_file():
            return
        try:
            request = self._read(path)
        except (OSError, ValueError) as error:
            _log.warning("a request for a swap cannot be read", reason=str(error)[:200])
            return
        finally:
            path.unlink(missing_ok=True)
        try:
            swap = self._begin(request)
        except CrosscamError as error:
            old = self._run.embedder.model_id
            self._answer(request.id, SwapReport(SwapState.REFUSED, old, reason=str(error)))
            return
        self._going = request.id, swap, None

    def _read(self, path: Path) -> SwapRequest:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        return SwapRequest.model_validate_json(path.read_text(encoding="utf-8"))

    def _begin(self, request: SwapRequest) -> ModelSwap:
        def opened() -> Embedder:
            threads, streams = self._threads, self._streams
            return choose_embedder(
                request.embedder, threads=threads, streams=streams, warm_up=True
            )[0]

        return self._run.service.swap(
            opened,
            beside_s=request.beside_s,
            learned=lambda model_id: learned_from(request.calibration, model_id),
            kept=lambda: kept_crops(self._folder / "gallery.db"),
        )

    def _answer(self, name: str, report: SwapReport) -> None:
        try:
            write_text(self._folder / ANSWER, json.dumps({"id": name, **asdict(report)}) + "\n")
        except CrosscamError as error:  # a full disk holds up nothing
            _log.warning("the answer cannot be written", reason=str(error))


def kept_crops(path: Path) -> Iterator[KeptCrop]:
    """Yield the pictures that a gallery keeps; none where there is no gallery."""
    if not path.is_file():
        return
    reader = Reader(path)
    try:
        for each in reader.pictures():
            found = reader.picture(each["name"])
            if found is not None:  # else it was deleted meanwhile
                key = TrackletKey(each["camera"], each["track"])
                yield KeptCrop(key, each["ns"], found["jpeg"])
    finally:
        reader.close()


def ask_for_swap(folder: Path, request: SwapRequest) -> SwapReport:
    """Ask the run in a folder for a swap, and wait for its end.

    Args:
        folder: Of `crosscam run`.
        request: What is asked for.

    Raises:
        InputError: The folder cannot be written, or the answer cannot be read.
        RunError: No run answers there, or it does not any more.
    """
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder", expected="that of a `crosscam run`")
    write_text(folder / REQUEST, request.model_dump_json() + "\n")
    began = time.monotonic()
    patience = _HEARD_S
    while time.monotonic() - began < patience:
        time.sleep(_POLL_S)
        report = _read_answer(folder / ANSWER, request.id)
        if report is None:
            continue
        if report.state in (SwapState.SWAPPED, SwapState.REFUSED):
            return report
        # Opening may take a download; beyond that the run is thought to have ended.
        patience = max(patience, request.beside_s + 600.0)
    (folder / REQUEST).unlink(missing_ok=True)
    raise RunError(
        f"no run answers in '{folder}'",
        expected="a `crosscam run` that goes on, with this output folder",
        fix="start it, or look at its messages",
    )


def _read_answer(path: Path, name: str) -> SwapReport | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("id") != name:
            return None
        data["state"] = SwapState(data["state"])
        return SwapReport(**data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{path} cannot be read ({error})") from error
