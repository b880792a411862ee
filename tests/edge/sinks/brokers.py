"""Real MQTT brokers in processes of their own, and somebody who listens to them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

USER, PASSWORD = "edge", "correct horse battery"


def wait_for(condition, seconds=20.0, told="it did not happen"):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, told() if callable(told) else told
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """Base of the brokers: a process that is started, frozen and killed."""

    def __init__(self, folder: Path, *, password: bool = False, certificate: Path | None = None):
        self.folder, self.port = folder, free_port()
        self.password, self.certificate = password, certificate
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_for(self._listens, told=lambda: (self.folder / "broker.log").read_text()[-2000:])

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Amqtt(Broker):
    """The broker of PyPI: wherever the tests run."""

    def command(self):
        tls = f", ssl: true, certfile: {self.certificate}, keyfile: {self.certificate}"
        plugin = "amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}"
        if self.password:
            from pwdlib import PasswordHash
            from pwdlib.hashers.argon2 import Argon2Hasher

            hashed = PasswordHash((Argon2Hasher(),)).hash(PASSWORD)
            (self.folder / "passwords").write_text(f"{USER}:{hashed}\n")
            plugin = (
                "amqtt.plugins.authentication.FileAuthPlugin: "
                f"{{password_file: {self.folder / 'passwords'}}}"
            )
        config = self.folder / "broker.yaml"
        config.write_text(
            f"listeners:\n  default: {{type: tcp, bind: '127.0.0.1:{self.port}'"
            f"{tls if self.certificate else ''}}}\nplugins:\n  {plugin}\n"
        )
        return [Path(sys.executable).with_name("amqtt"), "-c", config]


class Mosquitto(Broker):
    """The broker of Debian and of most sites."""

    def command(self):
        lines = [f"listener {self.port} 127.0.0.1", "persistence false"]
        lines += [f"allow_anonymous {str(not self.password).lower()}", f"user {os.environ['USER']}"]
        if self.password:
            file = self.folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-c", "-b", file, USER, PASSWORD], check=True)
            lines.append(f"password_file {file}")
        if self.certificate:
            lines += [f"certfile {self.certificate}", f"keyfile {self.certificate}"]
        (self.folder / "broker.conf").write_text("\n".join(lines) + "\n")
        return ["mosquitto", "-c", self.folder / "broker.conf"]


def make_broker(name: str, folder: Path, **options) -> Broker:
    if name == "mosquitto":
        if shutil.which("mosquitto") is None:
            pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
        os.environ.setdefault("USER", "root")
        return Mosquitto(folder, **options)
    pytest.importorskip("amqtt", reason="the extra 'dev' is not installed")
    return Amqtt(folder, **options)


@dataclass(frozen=True)
class Heard:
    topic: str
    text: str
    retained: bool
    qos: int


class Listener:
    """Subscribes to everything and keeps what it hears."""

    def __init__(self, broker: Broker, ca: Path | None = None) -> None:
        self.heard: list[Heard] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if broker.password:
            self._client.username_pw_set(USER, PASSWORD)
        if ca is not None:
            self._client.tls_set(str(ca))
        self._client.on_connect = lambda client, *_: client.subscribe("crosscam/#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _userdata, m: self.heard.append(
            Heard(m.topic, m.payload.decode(), bool(m.retain), m.qos)
        )
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def of(self, topic: str) -> list[str]:
        """What came under a topic, what came twice once: amqtt may send retained messages so."""
        texts = [each.text for each in list(self.heard) if each.topic.startswith(topic)]
        return list(dict.fromkeys(texts))

    def topics(self) -> set[str]:
        return {each.topic for each in list(self.heard)}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
