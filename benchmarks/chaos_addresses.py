"""A hundred addresses where no pictures are to be had, beside cameras that are well."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from chaos_faults import SETTLE_S, between
from chaos_site import since, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos_faults import Faults
    from chaos_site import Record

WATCHED_S = 60.0
_BAD = 100
_SECRET = "hunter2-is-wrong"


def bad_addresses(f: Faults) -> Record:
    """100 addresses of eight kinds where nothing is to be had are added to a site that runs."""
    if not f.run.alive:
        out = f.setting.work / "addresses"
        shutil.rmtree(out, ignore_errors=True)
        f.run = f.watch(out)
    with ExitStack() as opened:
        kinds = _kinds(f, opened)
        named = [
            (f"{kind}-{number}", kinds[kind].format(number))
            for number in range(-(-_BAD // len(kinds)))
            for kind in kinds
        ]
        bad = [{"id": name, "url": url} for name, url in named[:_BAD]]
        good = f.setting.cameras
        first, used_first = f.count(good), f.run.used()
        time.sleep(WATCHED_S)
        calm, used_before = f.count(good), f.run.used()
        began_ns = time.time_ns()
        f.run.watch([*f.cameras, *bad])

        def faults() -> dict[str, str]:
            return {
                each["camera"]: each["fault"]
                for each in f.run.records(began_ns)
                if each["type"] == "camera" and each["fault"]
            }

        wait_for(lambda: f.run.lives() and len(faults()) >= _BAD, "faults of all")
        took = since(began_ns)
        settled = f.run.used()
        time.sleep(max(0.0, WATCHED_S - took))
        used, seconds = f.run.used(), since(began_ns)
        time.sleep(SETTLE_S)
        lost = between(first, calm, f.count(good))
        told: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
        for camera, fault in faults().items():
            if (kind := camera.rpartition("-")[0]) in told:
                told[kind][fault] += 1
        states = sum(each["type"] == "camera" for each in f.run.records(began_ns))
        delivered = f.delivered(began_ns, time.time_ns())
        ends_ns = time.time_ns()
        f.run.end()
        said = f.run.log.read_text() + (f.run.out / "events.jsonl").read_text()
    return {
        "recovery_s": None,
        **lost,
        **delivered,
        "watched_s": seconds,
        "all_told_s": took,
        "told": {kind: dict(counts) for kind, counts in told.items()},
        "threads": used.threads,
        "threads_before": used_before.threads,
        "memory_mib": round(used.memory_mib, 1),
        "memory_mib_before": round(used_before.memory_mib, 1),
        "memory_mib_all_told": round(settled.memory_mib, 1),
        "cpu_s": round(used.cpu_s - used_before.cpu_s, 1),
        "cpu_s_before": round(used_before.cpu_s - used_first.cpu_s, 1),
        "log_bytes": used.log_bytes - used_before.log_bytes,
        "camera_records": states,
        "ended_s": since(ends_ns),
        "secrets_told": said.count(_SECRET),
    }


def _kinds(f: Faults, opened: ExitStack) -> dict[str, str]:
    """Return addresses by what is wrong with them; ``{}`` takes a number.

    Args:
        f: Its server is asked for streams that it has not.
        opened: Closes what is listened with.
    """
    denied = opened.enter_context(_answering(_deny))
    other = opened.enter_context(_answering(lambda _: b"SSH-2.0-OpenSSH_9.6\r\n"))
    closing = opened.enter_context(_answering(lambda _: b""))
    silent = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=400))
    full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    # Its queue is full, so that it answers as little as an address where nobody is.
    for _ in range(4):
        one = opened.enter_context(socket.socket())
        one.setblocking(False)
        one.connect_ex(full.getsockname())

    def at(listener: socket.socket) -> str:
        return f"127.0.0.1:{listener.getsockname()[1]}"

    return {
        "refused": "rtsp://127.0.0.1:1/{}",
        "no-such-name": "rtsp://no-such-host-{}.invalid/x",
        "no-such-path": f"rtsp://127.0.0.1:{f.server.port}/none/{{}}.mp4",
        "wrong-password": f"rtsp://viewer:{_SECRET}@{at(denied)}/{{}}",
        "not-rtsp": f"rtsp://{at(other)}/{{}}",
        "hangs-up": f"rtsp://{at(closing)}/{{}}",
        "says-nothing": f"rtsp://{at(silent)}/{{}}",
        "nobody-there": f"rtsp://{at(full)}/{{}}",
    }


@contextlib.contextmanager
def _answering(answer: Callable[[bytes], bytes]):  # type: ignore[no-untyped-def]
    """Listen; gives the listener, and answers every request until `answer` gives nothing."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=400)

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while (asked := client.recv(65536)) and (said := answer(asked)):
                client.sendall(said)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, name="answers", daemon=True).start()
    try:
        yield listener
    finally:
        listener.close()


def _deny(asked: bytes) -> bytes:
    """Answer a request of RTSP with 401."""
    number = re.search(rb"(?i)cseq: *(\d+)", asked)
    return (
        b"RTSP/1.0 401 Unauthorized\r\nCSeq: %s\r\n"
        b'WWW-Authenticate: Digest realm="camera", nonce="0123456789abcdef"\r\n\r\n'
    ) % (number[1] if number else b"1")
