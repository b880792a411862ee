"""The HTTP interface beside a run: checked before anything is loaded, served until the run ends."""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from crosscam_kernels.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from crosscam_edge.gallery import Gallery
    from crosscam_edge.live.run import LiveRun


class Listening:
    """An address that is ours, and who may ask there; `serve` answers.

    Args:
        listen: ``HOST:PORT``.
        tokens: The file of tokens; None without.

    Raises:
        CrosscamError: The address is none, is taken, or would let everybody in; or the tokens
            cannot be read.
        MissingExtraError: The extra `server` is not installed.
    """

    def __init__(self, listen: str, tokens: Path | None) -> None:
        for name in ("fastapi", "uvicorn", "prometheus_client"):
            if importlib.util.find_spec(name) is None:
                raise MissingExtraError("--listen", "server")
        from crosscam_edge.server.hub import Hub
        from crosscam_edge.server.serve import bind, is_loopback, parse_listen, refuse_open
        from crosscam_edge.server.tokens import Keyring

        host, port = parse_listen(listen)
        self._keyring = None if tokens is None else Keyring(tokens)
        refuse_open(host, self._keyring)
        self._loopback = is_loopback(host)
        self._socket = bind(host, port)
        self._hub = Hub()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record of the run; never waits."""
        self._hub.put(record)

    @contextmanager
    def serve(
        self,
        run: LiveRun,
        gallery: Gallery | None,
        path: Path,
        dropped: Callable[[], Mapping[str, int]],
    ) -> Iterator[None]:
        """Answer for as long as the block takes."""
        from crosscam_edge.server.app import make_app
        from crosscam_edge.server.serve import Server
        from crosscam_edge.server.site import Site

        site = Site(run, gallery, path, self._hub)
        app = make_app(site, self._keyring, loopback=self._loopback, dropped=dropped)
        server = Server(app, self._socket)
        server.start()
        click.echo("listening on http://{}:{}/api/v1".format(*server.address), err=True)
        if not self._loopback:
            click.echo(
                "tokens cross the network as they are: put a proxy with TLS before it", err=True
            )
        try:
            yield
        finally:
            server.stop()
            site.close()


def listening(listen: str | None, tokens: Path | None) -> Listening | None:
    """Return what was asked for on the command line.

    Raises:
        UsageError: Tokens without an address.
    """
    if listen is None:
        if tokens is not None:
            raise UsageError("--tokens without --listen", fix="add --listen 127.0.0.1:8080")
        return None
    return Listening(listen, tokens)
