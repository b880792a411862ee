"""What everything that takes the records of a live run has in common."""

from __future__ import annotations

import json
import ssl
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from crosscam_edge.sinks.forget import Seen


class Health(StrEnum):
    """How a sink is."""

    OK = "ok"
    """Records arrive."""
    AWAY = "away"
    """Nobody is there to take them; it is tried again for ever."""
    REFUSED = "refused"
    """Somebody is there and does not want them: somebody should look."""
    FAILING = "failing"
    """They cannot be written."""


class Sink(Protocol):
    """Takes records and sees to it that they arrive, in a thread of its own.

    Attributes:
        written: Records that have arrived.
        dropped: Records that never will.
    """

    @property
    def written(self) -> int: ...  # noqa: D102 (see above)

    @property
    def dropped(self) -> int: ...  # noqa: D102

    @property
    def health(self) -> Health:
        """How it is now."""
        ...

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record, which nobody changes any more; never waits."""
        ...

    def close(self) -> None:
        """Deliver what can be delivered in a few seconds; what is left is dropped and counted."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """A sink that keeps records where they can be changed, or has some that wait."""

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> int:
        """Take somebody out, by their global ids and where they were; waits until it is done.

        One at a time; whoever puts records meanwhile does not wait for it.

        Returns:
            Number of records that were changed or removed.

        Raises:
            RunError: It cannot be done now; asking again does it.
        """
        ...


def encoded(record: Mapping[str, Any]) -> bytes | None:
    """Return a record as JSON on one line, in UTF-8; None for one that JSON cannot hold."""
    try:
        return json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError):
        return None


def trusting(ca: str | None) -> ssl.SSLContext:
    """Return what checks the certificate of a server, and its name.

    Args:
        ca: File with certificates (PEM) that are believed; those of the system if not given.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"the certificates '{ca}' cannot be read: {error.strerror or error}",
            expected="a file with one or more certificates in PEM",
            fix="check 'ca' in the site file",
        ) from None
