"""Trouble between a camera and whoever watches it: a relay for RTSP that can be told to fail.

It sits between a client and a server that sends over TCP, one for each camera, and passes on what
they say, packet by packet. So it can lose packets, fall silent, hang up, change the time in all
packets, or go over to another video in the middle of a stream as cameras do when somebody changes
their settings. To a client that asks for UDP it sends UDP: `tc` with netem is not permitted on
every machine, and where it is it hits all connections.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
from typing import Any

_CLOCK = 90_000  # of video, RFC 6184 and 7798


class Relay:
    """Passes a video of a server on, at a port of its own.

    Args:
        upstream: Port of the server on this machine.
        video: What is asked of it, whatever the client asks for.
        seed: Of the losses.

    Attributes:
        port: Where clients connect.
        video: As above; counts from the next connection on.
        loss: Share of packets of video that do not arrive.
        frozen: Whether nothing is sent any more; connections are accepted all the same.
        shift_s: Added to the times in all packets: the camera's clock.
        lost: Packets that were left out.
        passed: Packets that were passed on.
        pictures: Pictures of which a packet was passed on.
    """

    def __init__(self, upstream: int, video: str, seed: int = 0) -> None:
        self.upstream, self.video = upstream, video
        self.loss, self.shift_s = 0.0, 0.0
        self.frozen = False
        self.lost = self.passed = self.pictures = 0
        self._random = random.Random(seed)
        self._sessions: list[_Session] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def hang_up(self) -> None:
        """End all connections."""
        for each in self._sessions:
            each.close()

    def change(self, video: str) -> None:
        """Send another video from now on, in the streams that go on too."""
        self.video = video
        for each in self._sessions:
            each.change(video)

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.hang_up()

    def drops(self) -> bool:
        """Tell whether the next packet is lost."""
        lost = self.frozen or (self.loss > 0 and self._random.random() < self.loss)
        self.lost += lost
        self.passed += not lost
        return lost

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            session = _Session(self, client)
            self._sessions = [each for each in self._sessions if not each.closed]
            self._sessions.append(session)
            session.start()


class _Session:
    """One client."""

    def __init__(self, relay: Relay, client: socket.socket) -> None:
        self._relay, self._client = relay, client
        self._server: socket.socket | None = None
        self._source: socket.socket | None = None  # whose packets are passed on
        self._udp: list[tuple[socket.socket, int]] = []
        self._offset: dict[str, int] | None = None
        self._last = (0, 0, 0)  # number, time, source of the last packet
        self._shown: int | None = None  # time of the last picture that was passed on
        self.closed = False

    def start(self) -> None:
        threading.Thread(target=self._requests, daemon=True).start()

    def close(self) -> None:
        self.closed = True
        for each in (self._client, self._server, self._source, *(s for s, _ in self._udp)):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def change(self, video: str) -> None:
        """Go over to another video without a word to the client."""
        if self.closed or self._server is None:
            return
        source = socket.create_connection(("127.0.0.1", self._relay.upstream))
        reader = source.makefile("rb")
        url = f"rtsp://127.0.0.1:{self._relay.upstream}/{video}"
        described = _ask(source, reader, "DESCRIBE", f"{url}?play_count=0")
        way = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        said = _ask(source, reader, "SETUP", _control(described, url), way)
        found = re.search(rb"Session: *([^;\r\n]+)", said)
        if found is None:
            raise RuntimeError(f"the server refuses {video}: {said!r}")
        _ask(source, reader, "PLAY", f"{url}/", f"Session: {found[1].decode()}\r\n")
        self._offset = None
        before, self._source = self._source, source
        threading.Thread(target=self._packets, args=(source, reader), daemon=True).start()
        if before is not None and before is not self._server:
            before.close()

    def _requests(self) -> None:
        try:
            self._server = self._source = socket.create_connection(
                ("127.0.0.1", self._relay.upstream)
            )
        except OSError:
            self.close()
            return
        server = self._server
        threading.Thread(
            target=self._packets, args=(server, server.makefile("rb")), daemon=True
        ).start()
        reader = self._client.makefile("rb")
        try:
            while data := _message(reader):
                if not self._relay.frozen:
                    server.sendall(data if data[:1] == b"$" else self._asked(data))
        except (OSError, ValueError):
            pass
        self.close()

    def _asked(self, data: bytes) -> bytes:
        """Return a request as the server shall read it."""
        url = f"rtsp://127.0.0.1:{self._relay.upstream}/{self._relay.video}"
        data = re.sub(
            rb"^(\w+) rtsp://[^/ ]+/camera(/[^ ]*)? ",
            lambda m: m[1] + b" " + url.encode() + (m[2] or b"?play_count=0") + b" ",
            data,
        )
        found = re.search(rb"client_port=(\d+)-(\d+)", data)
        if found is None:
            return data
        self._udp = [(_datagrams(), int(port)) for port in found.groups()]
        return re.sub(
            rb"Transport: [^\r]*", b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1", data
        )

    def _answered(self, data: bytes) -> bytes:
        """Return an answer as the client shall read it."""
        own = f"rtsp://127.0.0.1:{self._relay.port}/camera".encode()
        server = f"rtsp://127.0.0.1:{self._relay.upstream}/{self._relay.video}".encode()
        data = data.replace(server + b"?play_count=0", own).replace(server, own)
        head, _, body = data.partition(b"\r\n\r\n")
        head = re.sub(rb"(?i)(content-length: *)\d+", lambda m: m[1] + b"%d" % len(body), head)
        if self._udp and b"Transport:" in head:
            (first, a), (second, b) = self._udp
            ports = (a, b, first.getsockname()[1], second.getsockname()[1])
            head = re.sub(
                rb"Transport: [^\r]*",
                b"Transport: RTP/AVP;unicast;client_port=%d-%d;server_port=%d-%d" % ports,
                head,
            )
        return head + b"\r\n\r\n" + body

    def _packets(self, source: socket.socket, reader: Any) -> None:
        try:
            while data := _message(reader):
                if data[:1] != b"$":
                    if not self._relay.frozen:
                        self._client.sendall(self._answered(data))
                elif source is self._source:
                    self._pass_on(data[1], bytearray(data[4:]))
        except (OSError, ValueError, struct.error):
            pass
        if source is self._source:
            self.close()

    def _pass_on(self, channel: int, packet: bytearray) -> None:
        if channel == 0:
            self._renumber(packet)
        elif packet[1] == 200:  # sender report: the camera's clock beside the packets' times
            if self._source is not self._server:
                return  # it tells of a stream that the client does not know
            seconds, _, time = struct.unpack_from("!III", packet, 8)
            struct.pack_into("!I", packet, 8, (seconds + int(self._relay.shift_s)) % 2**32)
            struct.pack_into("!I", packet, 16, (time + self._shift()) % 2**32)
        if self._relay.drops():
            return
        if self._udp:
            own, port = self._udp[channel]
            own.sendto(packet, ("127.0.0.1", port))
        else:
            self._client.sendall(b"$" + bytes([channel]) + struct.pack("!H", len(packet)) + packet)
        if channel == 0 and self._last[1] != self._shown:  # all packets of a picture have one time
            self._shown = self._last[1]
            self._relay.pictures += 1

    def _shift(self) -> int:
        return int(self._relay.shift_s) * _CLOCK

    def _renumber(self, packet: bytearray) -> None:
        """Make packets of another video go on where those of the one before ended."""
        number, time, source = struct.unpack_from("!HII", packet, 2)
        if self._source is not self._server:
            if self._offset is None:
                self._offset = {
                    "number": self._last[0] + 1 - number,
                    "time": self._last[1] + _CLOCK // 10 - time,
                }
            number = (number + self._offset["number"]) % 2**16
            time = (time + self._offset["time"]) % 2**32
            source = self._last[2]
        self._last = (number, time, source)
        struct.pack_into("!HII", packet, 2, number, (time + self._shift()) % 2**32, source)


def _message(reader: Any) -> bytes:
    """Return the next packet or message of RTSP; empty at the end."""
    first = reader.read(1)
    if first == b"$":
        head = reader.read(3)
        return bytes(first + head + reader.read(struct.unpack("!H", head[1:])[0]))
    data = first
    while data and not data.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return b""
        data += line
    found = re.search(rb"(?i)content-length: *(\d+)", data)
    return bytes(data + (reader.read(int(found[1])) if found else b""))


def _ask(source: socket.socket, reader: Any, verb: str, target: str, more: str = "") -> bytes:
    source.sendall(f"{verb} {target} RTSP/1.0\r\nCSeq: 1\r\n{more}\r\n".encode())
    return _message(reader)


def _control(described: bytes, url: str) -> str:
    """Return the address of the first video of a description."""
    video = described.partition(b"m=video")[2]
    found = re.search(rb"a=control:([^\r\n]+)", video)
    control = found[1].decode() if found else "trackID=0"
    return control if control.startswith("rtsp:") else f"{url}/{control}"


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made
