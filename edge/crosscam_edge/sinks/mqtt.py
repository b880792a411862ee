"""Records to an MQTT broker, which may be away for long."""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from crosscam_deploy.log import get_logger
from crosscam_edge.backoff import Backoff
from crosscam_edge.sinks.base import Health, encoded, trusting
from crosscam_edge.sinks.forget import Erasure, Judged, left_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import paho.mqtt.client as mqtt
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from crosscam_edge.sinks.forget import Seen

_log = get_logger("mqtt")
_WAITING = 10_000
_TRACKS = 100  # pictures whose boxes wait for the network
_UNDER_WAY = 20  # messages that the broker has not acknowledged
_AGAIN = 16  # of the last acknowledged ones; with `online` fewer than a client may have under way
_AGAIN_S = 60.0
_KEEPALIVE_S = 15  # a broker that says nothing is left after twice that
_ANSWER_S = 5.0
_POLL_S = 0.05
_CLOSE_S = 5.0


class _Sent(NamedTuple):
    """A message with QoS 1 that was handed to the client.

    Attributes:
        topic: Below that of the site.
        data: Its text.
        is_record: Whether it counts as written once it is acknowledged.
        is_kept: Whether it is published again after a break: an event, not the state of a camera.
    """

    topic: str
    data: bytes
    is_record: bool
    is_kept: bool


class MqttSink:
    """Publishes records under ``PREFIX/SITE/``, by MQTT 3.1.1.

    ========================  ===  ========  ==============================================
    topic                     QoS  retained  while the broker is away
    ========================  ===  ========  ==============================================
    ``identity/GLOBAL_ID``    1    no        waits, in order; the oldest of many are dropped
    ``camera/CAMERA``         1    yes       the newest waits
    ``model``                 1    no        waits, in order with those of identities
    ``tracks/CAMERA``         0    no        dropped
    ``status``                1    yes       ``online``; ``offline`` is the last will
    ========================  ===  ========  ==============================================

    QoS 1 is "at least once": a message may come twice, with the same text. A broker acknowledges
    what it holds in memory, before slow clients have read it, and a crash takes that with it; so
    after a break the last events of the minute before, 16 at most, are published again although
    they were acknowledged. The states of all cameras are published again with each connection too,
    for a broker that has forgotten them.

    What waits of people who are erased, or would be published again, is dropped; what was handed to
    the network and is not acknowledged yet may still come, before they are told to be `erased`.

    Args:
        host: Of the broker.
        port: Of the broker.
        prefix: First levels of the topics.
        site: The next one.
        username: If the broker wants one.
        password: Likewise; neither shown nor logged.
        tls: Whether to encrypt, and to check the broker's certificate and name.
        ca: File with certificates that are believed; the system's if not given.
        most: Events of identities and models that may wait.
        backoff: Pauses between connections.

    Raises:
        InputError: `ca` cannot be read.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        prefix: str,
        site: str,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        ca: str | None = None,
        most: int = _WAITING,
        backoff: Backoff | None = None,
    ) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self.written = self.dropped = 0
        self.health = Health.AWAY
        self._told: Health | None = None
        self._base = f"{prefix}/{site}"
        self._where = f"{host}:{port}"
        self._most, self._backoff = most, backoff or Backoff()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"crosscam-{secrets.token_hex(6)}"
        )
        self._client.connect_timeout = _ANSWER_S
        self._client.connect_async(host, port, keepalive=_KEEPALIVE_S)
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls:
            self._client.tls_set_context(trusting(ca))
        self._client.will_set(f"{self._base}/status", b"offline", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        # Shared with whoever puts:
        self._lock = threading.Lock()
        self._people: deque[Mapping[str, Any]] = deque()
        self._cameras: dict[str, Mapping[str, Any]] = {}
        self._tracks: deque[Mapping[str, Any]] = deque()
        self._connected = False
        self._erasures: list[Erasure] = []  # that the thread has not heard of yet
        self._ends: float | None = None
        self._over = False
        # Of the thread alone:
        self._states: dict[str, bytes] = {}  # what was last told of each camera
        self._stale: set[str] = set()  # cameras of which this connection was not told
        self._unacknowledged: dict[int, _Sent] = {}  # by message id
        self._again: deque[tuple[float, _Sent]] = deque(maxlen=_AGAIN)  # acknowledged, and when
        self._refusal = ""  # what the broker said to this connection
        self._pauses = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mqtt", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits."""
        with self._lock:
            if self._ends is not None:
                self.dropped += 1
            elif record["type"] in ("identity", "model"):
                if len(self._people) >= self._most:
                    self._people.popleft()
                    self.dropped += 1
                self._people.append(record)
            elif record["type"] == "camera":
                # One that nobody has read is replaced: only the newest is of use.
                self.dropped += record["camera"] in self._cameras
                self._cameras[record["camera"]] = record
            elif self._connected and len(self._tracks) < _TRACKS:
                self._tracks.append(record)
            else:
                self.dropped += 1

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> int:
        """See `Keeps`; nothing of theirs is published again either."""
        asked = Erasure.of(names, seen)
        with self._lock:
            waiting = [*self._people, *self._tracks]
        judged = Judged.of(waiting, asked)  # without the lock: whoever puts would wait for it
        with self._lock:
            # What the thread took meanwhile is sent before it hears of this.
            self._erasures.append(asked)
            counts = [judged.put_in_place(each) for each in (self._people, self._tracks)]
            self.dropped += sum(gone for _, gone in counts)
        return sum(map(sum, counts))

    def close(self) -> None:
        """Deliver what can be delivered in five seconds, say goodbye; the rest is dropped."""
        with self._lock:
            self._ends = time.monotonic() + _CLOSE_S
        self._pauses.set()
        self._thread.join(_CLOSE_S + _ANSWER_S)
        with self._lock:
            self._over = True
            self.dropped += len(self._people) + len(self._cameras) + len(self._tracks)
            self.dropped += sum(each.is_record for each in self._unacknowledged.values())

    def _work(self) -> None:
        while not self._is_done():
            if not self._open():
                continue
            answer_by = time.monotonic() + _ANSWER_S
            while not self._is_done():
                self._forget()
                if not self._loop() or not (self._connected or time.monotonic() < answer_by):
                    self._lost(Health.REFUSED if self._refusal else Health.AWAY, self._refusal)
                    break
                if self._connected:
                    self._send()
        self._say_goodbye()

    def _loop(self) -> bool:
        """Let the client read and write; returns whether the connection still stands."""
        try:
            return self._client.loop(_POLL_S) == 0
        except Exception as error:  # bytes of a stranger in a parser of others
            _log.warning("broker is not understood", broker=self._where, reason=str(error))
            return False

    def _forget(self) -> None:
        """Have nothing published again of those who were erased."""
        with self._lock:
            asked, self._erasures = self._erasures, []
        for each in asked:
            kept = [(when, left_of(sent.data, each), sent) for when, sent in self._again]
            self._again.clear()
            self._again.extend(
                (when, sent._replace(data=data)) for when, data, sent in kept if data
            )
            for message, sent in self._unacknowledged.items():
                if sent.is_kept:
                    data = left_of(sent.data, each)
                    self._unacknowledged[message] = sent._replace(data=data, is_kept=bool(data))

    def _is_done(self) -> bool:
        """Tell whether the sink is being closed and nothing is left to do, or no time to do it."""
        if self._ends is None:
            return False
        with self._lock:
            waits = self._people or self._cameras or self._tracks or self._unacknowledged
        return not waits or time.monotonic() >= self._ends

    def _open(self) -> bool:
        """Begin a connection; returns whether there is one, after a pause if not."""
        self._refusal = ""
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:  # names and certificates raise ValueErrors
            refused = isinstance(error, ssl.SSLError)
            self._lost(Health.REFUSED if refused else Health.AWAY, str(error))
            return False
        return True

    def _lost(self, health: Health, reason: str) -> None:
        """Note that there is no connection, and wait before the next one."""
        with self._lock:
            self._connected = False
            self.dropped += len(self._tracks)
            self._tracks.clear()
        self._tell(health, reason)
        pause = self._backoff.failed()
        if self._ends is not None:
            time.sleep(min(pause, 0.5))
        else:
            self._pauses.wait(pause)

    def _send(self) -> None:
        """Publish what waits, as long as the network takes it."""
        while not self._client.want_write() and len(self._unacknowledged) < _UNDER_WAY:
            if self._stale:
                camera = self._stale.pop()
                self._publish(f"camera/{camera}", self._states[camera], is_record=False)
                continue
            with self._lock:
                record = self._next()
            if record is None:
                return
            try:
                self._publish_record(record)
            except (KeyError, ValueError):  # no topic or no text can be made of it
                self._count(dropped=1)

    def _publish_record(self, record: Mapping[str, Any]) -> None:
        data = encoded(record)
        if data is None:
            self._count(dropped=1)
        elif record["type"] == "identity":
            self._publish(f"identity/{record['global_id']}", data, retain=False)
        elif record["type"] == "model":
            self._publish("model", data, retain=False)
        elif record["type"] == "camera":
            self._publish(f"camera/{record['camera']}", data)
            self._states[record["camera"]] = data
        else:
            self._publish_once(f"tracks/{record['camera']}", data)

    def _next(self) -> Mapping[str, Any] | None:
        if self._cameras:
            return self._cameras.pop(next(iter(self._cameras)))
        if self._people:
            return self._people.popleft()
        return self._tracks.popleft() if self._tracks else None

    def _publish(
        self, topic: str, data: bytes, *, retain: bool = True, is_record: bool = True
    ) -> None:
        """Publish with QoS 1: the client keeps it, over connections, until it is acknowledged."""
        sent = self._client.publish(f"{self._base}/{topic}", data, qos=1, retain=retain)
        is_kept = is_record and not retain
        self._unacknowledged[sent.mid] = _Sent(topic, data, is_record, is_kept)

    def _publish_once(self, topic: str, data: bytes) -> None:
        sent = self._client.publish(f"{self._base}/{topic}", data, qos=0)
        self._count(written=sent.rc == 0, dropped=sent.rc != 0)

    def _count(self, *, written: int = 0, dropped: int = 0) -> None:
        with self._lock:
            if not self._over:
                self.written += written
                self.dropped += dropped

    def _say_goodbye(self) -> None:
        if self._connected:
            self._publish("status", b"offline", is_record=False)
            until = time.monotonic() + 1.0
            while self._unacknowledged and time.monotonic() < until:
                if not self._loop():
                    return
            self._client.disconnect()
            self._loop()

    def _on_connect(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._backoff.worked()
        with self._lock:
            self._connected = True
        self._stale = set(self._states)
        self._forget()
        self._publish("status", b"online", is_record=False)
        oldest = time.monotonic() - _AGAIN_S
        for when, sent in self._again:  # here, so that they come before what is newer
            if when >= oldest:
                self._publish(sent.topic, sent.data, retain=False, is_record=False)
        self._tell(Health.OK, "connected")

    def _on_publish(
        self,
        client: mqtt.Client,
        userdata: object,
        message: int,
        reason: ReasonCode,
        properties: Properties,
    ) -> None:
        sent = self._unacknowledged.pop(message, None)
        if sent is None:
            return  # boxes, that were counted when they were sent
        self._count(written=sent.is_record)
        if sent.is_kept:
            self._again.append((time.monotonic(), sent))

    def _tell(self, health: Health, reason: str) -> None:
        self.health = health
        if health is not self._told:  # once, not with each try
            self._told = health
            tell = _log.info if health is Health.OK else _log.warning
            tell(f"broker: {health.value}", broker=self._where, reason=reason)
