"""The embedding model that serves in a live run, and how another one takes its place."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crosscam_deploy.log import get_logger
from crosscam_edge.live.swap import (
    Beside,
    KeptCrop,
    ModelSwap,
    SwapReport,
    SwapState,
    beside,
    model_record,
)
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future

    from crosscam_edge.associate.learned import Learned
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.live.identities import Identities
    from crosscam_edge.live.looking import Looking
    from crosscam_edge.live.roster import Roster

_log = get_logger("live")
T = TypeVar("T")


class Ask(Protocol):
    """Has something done by the run's thread between two rounds; see `LiveRun.ask`."""

    def __call__(self, work: Callable[[], T]) -> Future[T]:
        """Ask; the future has the answer."""


class Service:
    """Which model tells people apart; of the run's thread, but for `swap` and reading.

    Args:
        embedder: The first; closed by whoever opened it, those that come after it are closed here.
        looking: Has crops embedded.
        identities: Remember embeddings.
        roster: The cameras, whose tracks remember embeddings too.
        ask: Has something done by the run's thread.
        now_ns: UTC.
        emit: Gets the records of type ``model``; must not wait.

    Attributes:
        embedder: The model that serves now.
        identities: As above.
        ask: As above.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        looking: Looking,
        identities: Identities,
        roster: Roster,
        ask: Ask,
        now_ns: Callable[[], int],
        emit: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.embedder = self._first = embedder
        self.identities = identities
        self.ask = ask
        self._looking, self._roster = looking, roster
        self._now, self._emit = now_ns, emit
        self._swap: ModelSwap | None = None
        self._swapping = threading.Lock()

    def swap(
        self,
        open_new: Callable[[], Embedder],
        *,
        beside_s: float = 60.0,
        learned: Callable[[str], Learned | None] = lambda _: None,
        kept: Callable[[], Iterable[KeptCrop]] = tuple,
    ) -> ModelSwap:
        """Change the embedding model while the cameras run; any thread may ask.

        The new one is tried, sees every crop beside the old one for a while, and takes over
        between two pictures. Tracks and identities keep their ids. If anything goes wrong before
        that, the old one serves on. Either end is told by a record of type ``model``.

        Args:
            open_new: Opens the new model; closed here.
            beside_s: Seconds during which both see every crop: who does not appear in that time,
                and of whom no picture is kept, is not known again.
            learned: Returns what earlier footage has taught about a model, by its id.
            kept: Returns pictures that were kept of people; asked by another thread.

        Raises:
            RunError: Another swap goes on.
        """
        with self._swapping:
            if self._swap is not None and self._swap.report.state in (
                SwapState.OPENING,
                SwapState.BESIDE,
            ):
                raise RunError("another swap goes on", fix="wait for its end")
            self._swap = ModelSwap(self, open_new, beside_s=beside_s, learned=learned, kept=kept)
            return self._swap

    def begin_beside(self, new: Embedder) -> Beside:
        """Have every crop embedded by another model too; by way of `ask`."""
        trial = beside(self.embedder, new)
        self._looking.use(trial)
        return trial

    def end_beside(self, report: SwapReport) -> None:
        """Have the model that serves work alone again, and tell why; by way of `ask`."""
        self._looking.use(self.embedder)
        self._emit(model_record(report, self._now()))

    def take_over(self, new: Embedder, translation: Translation, learned: Learned | None) -> int:
        """Go over to another model; by way of `ask`.

        Everything is made ready beside what serves, and only then put in its place: if anything
        goes wrong before that, nothing has changed.

        Args:
            new: It; closed here.
            translation: From the embeddings of the model that served to those of the new one.
            learned: What earlier footage has taught about the new one.

        Returns:
            Number of people who are known no longer.
        """
        old, watched = self.embedder, self._roster.watched
        site = replace(self.identities.online.site, learned=learned)
        online, lost = self.identities.translated(
            dim=new.dim, model_id=new.model_id, site=site, translation=translation
        )
        tracking = [each.analysis.translated(translation) for each in watched]
        self.identities.use(online, new.dim)
        for each, after in zip(watched, tracking, strict=True):
            each.analysis.use(after)
        self._looking.use(new)
        self.embedder = new
        if old is not self._first:
            try:
                old.close()
            except Exception as error:  # the new one serves: that is what counts
                _log.warning("the old model cannot be closed", reason=repr(error))
        report = SwapReport(SwapState.SWAPPED, old.model_id, new.model_id,
                            people=len(self.identities.online.people), lost=lost)  # fmt: skip
        self._emit(model_record(report, self._now()))
        return lost

    def give_up(self) -> None:
        """End a swap that goes on: the old model serves."""
        if self._swap is not None:
            self._swap.give_up()

    def close(self) -> None:
        """Close the model that serves, unless it is the first; at the end of the run."""
        if self.embedder is not self._first:
            self.embedder.close()
