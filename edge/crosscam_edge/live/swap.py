"""Another embedding model in the middle of a live run: tried beside the old one, then taken over.

Embeddings of two models are never compared. So for a while both see every crop, and what the new
one makes of each is kept beside what the old one made of it; then, between two pictures, everybody
who is remembered is remembered by the new model instead, under the same id. Whatever goes wrong
before that leaves the old model serving, and is told.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import cv2
import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.redact import redact
from crosscam_edge.embed.translation import Translation
from crosscam_edge.live.batches import ManyEmbedder
from crosscam_kernels.errors import CrosscamError, InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.learned import Learned
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.live.batches import Boxes
    from crosscam_edge.live.service import Service
    from crosscam_edge.types import TrackletKey

_log = get_logger("swap")
T = TypeVar("T")
_PROBE = (256, 128)
_LOOK_S = 0.2  # whether the new model has failed is looked at so often
_SAME = 0.9999  # cosine of two pictures that have nothing in common
_AT_ONCE = 256  # pictures whose tracklets the run is asked for in one go
_ANSWER_S = 30.0  # for the run to come round to a request


class KeptCrop(NamedTuple):
    """A picture of somebody that was kept.

    Attributes:
        key: The tracklet that it is of.
        time_ns: When it was taken, UTC; that of one of the tracklet's embeddings.
        jpeg: The person, and nothing around.
    """

    key: TrackletKey
    time_ns: int
    jpeg: bytes


class SwapState(StrEnum):
    """Where a swap stands.

    Attributes:
        OPENING: The new model is opened and tried; the old one serves.
        BESIDE: Both see every crop; the old one serves.
        SWAPPED: The new one serves.
        REFUSED: The old one serves, and that is the end of it.
    """

    OPENING = "opening"
    BESIDE = "beside"
    SWAPPED = "swapped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SwapReport:
    """How a swap went.

    Attributes:
        state: `SWAPPED` or `REFUSED` in the end.
        old: Id of the model that served before.
        new: Id of the other one; None as long as it could not be opened.
        reason: Why it was refused; None otherwise.
        people: People who are known by the new model.
        lost: People who are not: it has not seen them.
    """

    state: SwapState
    old: str
    new: str | None = None
    reason: str | None = None
    people: int = 0
    lost: int = 0


class Beside:
    """An embedder that has every crop embedded by another one too; answers for the first.

    A fault of the other is kept, and it is asked no more: the first goes on.

    Args:
        serving: Whose embeddings are returned.
        other: Sees the same crops.

    Attributes:
        translation: What both made of each crop.
        fault: What went wrong with the other one.
    """

    def __init__(self, serving: Embedder, other: Embedder) -> None:
        self.translation = Translation(other.dim)
        self.fault: Exception | None = None
        self.name, self.model_id, self.dim = serving.name, serving.model_id, serving.dim
        self.inference_seconds, self.unusable = serving.inference_seconds, serving.unusable
        self._serving, self._other = serving, other

    def embed(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """See `Embedder`."""
        rows = self._serving.embed(image, boxes)
        self._also([(image, boxes)], [rows])
        return rows

    def close(self) -> None:
        """Both are closed by whoever opened them."""

    def _also(self, asked: Sequence[Boxes], answers: Sequence[NDArray[np.float32]]) -> None:
        """Have the other one embed what the first has answered."""
        self.inference_seconds = self._serving.inference_seconds
        self.unusable = self._serving.unusable
        pairs = [each for each in zip(asked, answers, strict=True) if len(each[1])]
        if self.fault is not None or not pairs:
            return
        asked = [each for each, _ in pairs]
        try:
            if isinstance(self._other, ManyEmbedder):
                others = self._other.embed_many(asked)
            else:
                others = [self._other.embed(image, boxes) for image, boxes in asked]
            for (_, rows), new in zip(pairs, others, strict=True):
                self.translation.put(rows, new)
        except Exception as error:  # it is on trial: the old one goes on without it
            self.fault = error


class ManyBeside(Beside):
    """The same for a model that takes the people of several pictures in one call.

    Cameras share its calls during a trial as they do without one.
    """

    _serving: ManyEmbedder

    def __init__(self, serving: ManyEmbedder, other: Embedder) -> None:
        super().__init__(serving, other)

    @property
    def runtime(self) -> Any:
        """That of the first, which tells how many pictures a call may have; None without one."""
        return getattr(self._serving, "runtime", None)

    def embed_many(self, asked: Sequence[Boxes]) -> list[NDArray[np.float32]]:
        """See `ManyEmbedder`."""
        answers = self._serving.embed_many(asked)
        self._also(asked, answers)
        return answers


def beside(serving: Embedder, other: Embedder) -> Beside:
    """Return an embedder that can do what the serving one can, and asks the other too."""
    if isinstance(serving, ManyEmbedder):
        return ManyBeside(serving, other)
    return Beside(serving, other)


class ModelSwap:
    """Takes a live run from one embedding model to another, on a thread of its own.

    Args:
        service: Of the run.
        open_new: Opens the new model; may take its time, and may fail.
        beside_s: Seconds during which both see every crop.
        learned: Returns what earlier footage has taught about a model, by its id; None for nothing.
        kept: Returns pictures of those who may not appear while both see every crop.
    """

    def __init__(
        self,
        service: Service,
        open_new: Callable[[], Embedder],
        *,
        beside_s: float,
        learned: Callable[[str], Learned | None] = lambda _: None,
        kept: Callable[[], Iterable[KeptCrop]] = tuple,
    ) -> None:
        self._kept = kept
        self._service, self._open = service, open_new
        self._beside_s, self._learned = beside_s, learned
        self._report = SwapReport(SwapState.OPENING, service.embedder.model_id)
        self._beside: Beside | None = None
        self._given_up = False
        self._enough = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="swap", daemon=True)
        self._thread.start()

    @property
    def report(self) -> SwapReport:
        """How it stands."""
        return self._report

    def wait(self, timeout_s: float | None = None) -> SwapReport:
        """Wait for the end, or for so long; returns how it stands then."""
        self._done.wait(timeout_s)
        return self._report

    @property
    def seen(self) -> int:
        """Crops that both models have seen so far."""
        return 0 if self._beside is None else len(self._beside.translation)

    def hasten(self) -> None:
        """Wait no longer for people to be seen by both: what was seen is enough."""
        self._enough.set()

    def give_up(self) -> None:
        """Leave the old model serving if the new one does not yet."""
        self._given_up = True
        self._enough.set()

    def _work(self) -> None:
        new: Embedder | None = None
        try:
            new = self._open()
            self._tried(new)
            self._take(new)
        except Exception as error:  # whatever it was, the old model serves on
            if self._report.state is not SwapState.SWAPPED:
                self._refused(error, new)
        finally:
            self._done.set()

    def _tried(self, new: Embedder) -> None:
        """Have the new model look at two pictures, and read what is known of it.

        Raises:
            InputError: It is the one that serves, or its answers are no embeddings.
        """
        old = self._report.old
        self._report = SwapReport(SwapState.OPENING, old, new.model_id)
        if new.model_id == old:
            raise InputError(
                f"{new.name} is the model that serves already", expected="another bundle"
            )
        self._learned(new.model_id)
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (*_PROBE, 3), np.uint8)
        ramp = np.broadcast_to(np.linspace(0, 255, _PROBE[0])[:, None, None], noise.shape)
        box = np.array([[0, 0, _PROBE[1], _PROBE[0]]], np.float32)
        rows = np.concatenate([new.embed(each, box) for each in (noise, ramp.astype(np.uint8))])
        if rows.shape != (2, new.dim) or not np.isfinite(rows).all():
            raise InputError(
                f"{new.name} answers with numbers of shape {rows.shape}, finite or not",
                expected=f"finite embeddings of length {new.dim}",
                fix="check it with `crosscam verify`",
            )
        if (abs(np.linalg.norm(rows, axis=1) - 1) > 1e-3).any() or rows[0] @ rows[1] > _SAME:
            raise InputError(
                f"{new.name} answers alike to pictures that have nothing in common",
                expected="embeddings of length 1 that differ",
                fix="check it with `crosscam verify`",
            )

    def _take(self, new: Embedder) -> None:
        service = self._service
        self._beside = beside = self._asked(lambda: service.begin_beside(new))
        self._report = SwapReport(SwapState.BESIDE, self._report.old, new.model_id)
        self._look_back(new, beside.translation)
        ends = time.monotonic() + self._beside_s
        while beside.fault is None and (left := ends - time.monotonic()) > 0:
            if self._enough.wait(min(left, _LOOK_S)):
                break
        if self._given_up:
            raise RunError("the swap was given up", expected="time to see people with both")
        if beside.fault is not None:
            raise beside.fault
        learned = self._learned(new.model_id)

        def change() -> SwapReport:
            lost = service.take_over(new, beside.translation, learned)
            people = len(service.identities.online.people)
            return SwapReport(
                SwapState.SWAPPED, self._report.old, new.model_id, people=people, lost=lost
            )

        self._report = self._asked(change)
        _log.info("model swapped", new=new.model_id[:16], people=self._report.people)

    def _asked(self, work: Callable[[], T]) -> T:
        """Have the run's thread do something, and wait for it.

        Raises:
            TimeoutError: The run did not come round to it, and will not do it later either.
        """
        future = self._service.ask(work)
        try:
            return future.result(_ANSWER_S)
        except TimeoutError:
            if future.cancel():
                raise
            return future.result()  # it has begun, or is done: what it did counts

    def _look_back(self, new: Embedder, translation: Translation) -> None:
        """Have the new model see the pictures that were kept of everybody."""
        pictures = iter(self._kept())
        while some := list(islice(pictures, _AT_ONCE)):
            keys = {each.key for each in some}
            people = self._service.identities.online.people
            known = self._asked(partial(people.tracklets_of, keys))
            for crop in some:
                if self._given_up:
                    return
                tracklet = known.get(crop.key)
                at = [] if tracklet is None else tracklet.embedding_times_ns == crop.time_ns
                image = cv2.imdecode(np.frombuffer(crop.jpeg, np.uint8), cv2.IMREAD_COLOR)
                if tracklet is None or not np.any(at) or image is None:
                    continue
                box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
                row = new.embed(np.asarray(image, np.uint8), box)
                translation.put(tracklet.embeddings[at][:1], row)

    def _refused(self, error: Exception, new: Embedder | None) -> None:
        known = isinstance(error, CrosscamError)
        reason = redact(str(error) if known else f"{type(error).__name__}: {error}")
        old, service = self._report.old, self._service
        self._report = SwapReport(SwapState.REFUSED, old, self._report.new, reason)
        _log.warning("model not swapped", reason=reason)

        def leave() -> None:
            service.end_beside(self._report)
            if new is not None:
                new.close()

        try:
            service.ask(leave).result(_ANSWER_S)
        except (RunError, CancelledError):  # the run has ended, and uses neither
            if new is not None:
                new.close()
        except TimeoutError:
            _log.warning("the run does not come round to leaving the new model")


def model_record(report: SwapReport, time_ns: int) -> dict[str, Any]:
    """Return the end of a swap as a record for programs."""
    return {
        "type": "model",
        "state": report.state.value,
        "time_ns": time_ns,
        "old": report.old,
        "new": report.new,
        "reason": report.reason,
        "people": report.people,
        "lost": report.lost,
    }
