"""Serving an application from a thread of its own, beside a run."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import uvicorn

from crosscam_deploy.log import get_logger
from crosscam_edge.server.patience import PatientProtocol
from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    import ssl

    from fastapi import FastAPI

    from crosscam_edge.server.tokens import Keyring

_log = get_logger("server")
_START_S = 10.0
_STOP_S = 5.0
_CONNECTIONS = 128
_DEAF_MS = 20_000


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises:
        UsageError: It is neither.
    """
    host, _, digits = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    good = bool(host) and (":" in host) == bracketed and not {*"[]"} & {*host}
    if not good or not (digits.isascii() and digits.isdigit()) or int(digits) > 65535:
        raise UsageError(
            f"'{text}' is no address to listen on", expected="HOST:PORT, for example 127.0.0.1:8080"
        )
    return host, int(digits)


def is_loopback(host: str) -> bool:
    """Return whether a host is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open(host: str, keyring: Keyring | None) -> None:
    """Refuse to let everybody in.

    Raises:
        UsageError: There are no tokens, and others than this machine could ask.
    """
    if keyring is not None and not len(keyring):
        raise UsageError(
            "the file of tokens has none", expected="one at least", fix="crosscam token create"
        )
    if keyring is None and not is_loopback(host):
        raise UsageError(
            f"--listen {host} without tokens would let everybody in who can reach this machine",
            expected="127.0.0.1, or tokens",
            fix="crosscam token create --role viewer --file tokens.json, and --tokens tokens.json",
        )


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        RunError: The address is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A client that is there and takes nothing: the system hangs up.
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAF_MS)
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        found.close()
        taken = error.errno == errno.EADDRINUSE
        raise RunError(
            f"{host}:{port} cannot be listened on ({os.strerror(error.errno or 0)})",
            expected="a free port" if taken else "an address of this machine",
            fix="choose another one with --listen",
        ) from None
    return found


class Server:
    """Serves in a thread until told to stop.

    Args:
        app: What is served; its `state.slow` counts requests that came too slowly.
        listening: From `bind`; closed by the server.
        tls: From `tls_context`; None for plain HTTP.
    """

    def __init__(
        self, app: FastAPI, listening: socket.socket, tls: ssl.SSLContext | None = None
    ) -> None:
        self._listening = listening
        self.address: tuple[str, int] = listening.getsockname()[:2]
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # failed requests are told by our own handler
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = tls
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)

    def start(self) -> None:
        """Begin to serve; returns when it does.

        Raises:
            RunError: It does not.
        """
        self._thread.start()
        ends = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > ends:
                raise RunError("the HTTP interface did not start", fix="run it again with -v")
            time.sleep(0.01)

    def stop(self) -> None:
        """Hang up, and end the thread."""
        self._server.should_exit = True
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            _log.warning("the HTTP interface did not stop in time")
        self._listening.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._listening])
