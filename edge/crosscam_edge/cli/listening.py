"""The HTTP interface beside a run: checked before anything is loaded, served until the run ends."""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from crosscam_kernels.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from crosscam_edge.gallery import Gallery
    from crosscam_edge.live.run import LiveRun
    from crosscam_edge.sinks.fanout import Fanout


class Listening:
    """An address that is ours, and who may ask there; `serve` answers.

    Args:
        listen: ``HOST:PORT``.
        tokens: The file of tokens; None without.
        tls: Files of the certificate and its key; None for plain HTTP.

    Raises:
        CrosscamError: The address is none, is taken, or would let everybody in; or the tokens, the
            certificate or the key cannot be used.
        MissingExtraError: The extra `server` is not installed.
    """

    def __init__(
        self, listen: str, tokens: Path | None, tls: tuple[Path, Path] | None = None
    ) -> None:
        for name in ("fastapi", "uvicorn", "prometheus_client"):
            if importlib.util.find_spec(name) is None:
                raise MissingExtraError("--listen", "server")
        from crosscam_edge.server.hub import Hub
        from crosscam_edge.server.serve import bind, is_loopback, parse_listen, refuse_open
        from crosscam_edge.server.tls import tls_context
        from crosscam_edge.server.tokens import Keyring

        host, port = parse_listen(listen)
        self._keyring = None if tokens is None else Keyring(tokens)
        refuse_open(host, self._keyring)
        self._tls = None if tls is None else tls_context(*tls)
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
        outputs: Fanout,
    ) -> Iterator[None]:
        """Answer for as long as the block takes."""
        from crosscam_edge.server.app import make_app
        from crosscam_edge.server.serve import Server
        from crosscam_edge.server.site import Site

        site = Site(run, gallery, path, self._hub, erase=outputs.erase)
        app = make_app(site, self._keyring, loopback=self._loopback, dropped=outputs.dropped)
        server = Server(app, self._socket, self._tls)
        server.start()
        scheme = "http" if self._tls is None else "https"
        click.echo("listening on {}://{}:{}/api/v1".format(scheme, *server.address), err=True)
        if not self._loopback and self._tls is None:
            click.echo(
                "tokens cross the network as they are: --tls-cert and --tls-key encrypt them",
                err=True,
            )
        try:
            yield
        finally:
            server.stop()
            site.close()


def listening(
    listen: str | None, tokens: Path | None, certificate: Path | None, key: Path | None
) -> Listening | None:
    """Return what was asked for on the command line.

    Raises:
        UsageError: Tokens or a certificate without an address, or one of certificate and key.
    """
    if (certificate is None) != (key is None):
        raise UsageError(
            "one of --tls-cert and --tls-key", expected="both or none", fix="add the other one"
        )
    if listen is None:
        if certificate is not None:
            raise UsageError("--tls-cert without --listen", fix="add --listen 127.0.0.1:8443")
        if tokens is not None:
            raise UsageError("--tokens without --listen", fix="add --listen 127.0.0.1:8080")
        return None
    tls = None if certificate is None or key is None else (certificate, key)
    return Listening(listen, tokens, tls)
