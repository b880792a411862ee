"""One stream of records to several sinks, none of which can harm another."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_edge.sinks.base import Health, Keeps
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from crosscam_edge.sinks.base import Sink
    from crosscam_edge.sinks.forget import Seen

_log = get_logger("outputs")


@dataclass(slots=True)
class Output:
    """A sink and what it gets.

    Attributes:
        name: For people; holds no secret.
        sink: It.
        kinds: Types of the records that it gets.
        failures: Records at which the sink raised.
    """

    name: str
    sink: Sink
    kinds: frozenset[str]
    failures: int = 0

    def counts(self) -> dict[str, int | str]:
        """Return what became of its records, and how it is."""
        health = Health.FAILING if self.failures else self.sink.health
        return {
            "written": self.sink.written,
            "dropped": self.sink.dropped + self.failures,
            "health": health.value,
        }


class Fanout:
    """Hands each record to every sink that wants its type.

    A sink never waits, by its contract; one that raises loses that record, and is told of once.

    Args:
        outputs: The sinks; closed with this.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = tuple(outputs)

    def wants(self, kind: str) -> bool:
        """Tell whether any sink gets records of a type."""
        return any(kind in each.kinds for each in self._outputs)

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits."""
        for each in self._outputs:
            if record["type"] not in each.kinds:
                continue
            try:
                each.sink.put(record)
            except Exception as error:  # whatever it is, the other sinks shall get theirs
                each.failures += 1
                _tell(each, error)

    def counts(self) -> dict[str, dict[str, int | str]]:
        """Return what became of the records, by name of the sink."""
        return {each.name: each.counts() for each in self._outputs}

    def dropped(self) -> dict[str, int]:
        """Return how many records were lost, by name of the sink."""
        return {each.name: each.sink.dropped + each.failures for each in self._outputs}

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> None:
        """Take somebody out of all that is kept here; waits until it is done.

        Args:
            names: Their global ids.
            seen: Where they were.

        Raises:
            RunError: Somewhere it cannot be done now; asking again does it.
        """
        failed: RunError | None = None
        for each in self._outputs:
            if isinstance(each.sink, Keeps):
                try:
                    each.sink.erase(names, seen)
                except RunError as error:
                    failed = error  # the others shall be rid of them all the same
        if failed is not None:
            raise failed

    def close(self) -> None:
        """Close all sinks side by side: together they take as long as the slowest."""
        threads = [
            threading.Thread(target=_close, args=(each,), name=f"close {each.name}")
            for each in self._outputs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _close(output: Output) -> None:
    try:
        output.sink.close()
    except Exception as error:  # the thread is at its end: nobody else would hear of it
        output.failures += 1
        _tell(output, error)


def _tell(output: Output, error: Exception) -> None:
    if output.failures == 1:
        _log.warning("a sink failed", sink=output.name, reason=f"{type(error).__name__}: {error}")
