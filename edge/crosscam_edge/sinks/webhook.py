"""Records to a web hook: signed batches by HTTP, tried again until they are taken."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_edge.backoff import Backoff
from crosscam_edge.sinks.base import Health, encoded, trusting
from crosscam_edge.sinks.forget import Erasure, Judged
from crosscam_edge.sinks.signature import HEADER, signature

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import httpx

    from crosscam_edge.sinks.forget import Seen

_log = get_logger("webhook")
_WAITING = 10_000
_TRACKS = 500  # of the records that wait: boxes are many, large, and soon old
_BATCH = 100
_BATCH_BYTES = 1 << 20
_GATHER_S = 0.5
_TIMEOUT_S = 10.0
_CLOSE_S = 5.0
_CLOSING_PAUSE_S = 0.5
_PATIENCE_S = 3600.0
_LONGEST_ASKED_S = 300.0
_AGAIN = frozenset({408, 425, 429, 502, 503, 504})  # the time was wrong, not the request


class WebhookSink:
    """Posts batches of records as JSON, one at a time and in order.

    What cannot be delivered yet waits, up to a bound at which the oldest are dropped. A batch is
    tried again for ever when nobody answers or the answer is that it is too much (408, 425, 429,
    502, 503, 504), for an hour after other errors of the server, and not after any other answer,
    redirections among them. Every try has the same `Idempotency-Key` and a signature of its own.

    Args:
        url: Where to; may hold secrets, so it is neither shown nor logged.
        secret: For signatures.
        name: Of the hook, for logs.
        site: Name of the site, told with each batch.
        ca: File with certificates that the server's is checked with; the system's if not given.
        most: Records that may wait.
        timeout_s: Longest silence of the server.
        backoff: Pauses between tries.

    Raises:
        InputError: `ca` cannot be read.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        name: str,
        site: str,
        ca: str | None = None,
        most: int = _WAITING,
        timeout_s: float = _TIMEOUT_S,
        backoff: Backoff | None = None,
    ) -> None:
        import httpx

        # It tells of each request with its URL, in which secrets may be.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.written = self.dropped = 0
        self.health = Health.OK
        self._url, self._secret, self._name, self._site = url, secret, name, site
        self._fault = ""
        self._most, self._backoff = most, backoff or Backoff()
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            verify=True if ca is None else trusting(ca),
            follow_redirects=False,
        )
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._tracks = self._under_way = 0
        self._ends: float | None = None
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits."""
        is_track = record["type"] == "tracks"
        with self._changed:
            if self._ends is not None or (is_track and self._tracks >= _TRACKS):
                self.dropped += 1
                return
            if len(self._waiting) >= self._most:
                self._pop()
                self.dropped += 1
            self._waiting.append(record)
            self._tracks += is_track
            self._changed.notify()

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> int:
        """See `Keeps`; a batch that is on its way is tried again as it is."""
        asked = Erasure.of(names, seen)
        with self._changed:
            waiting = list(self._waiting)
        judged = Judged.of(waiting, asked)  # without the lock: whoever puts would wait for it
        with self._changed:
            changed, gone = judged.put_in_place(self._waiting)
            self.dropped += gone
        return changed + gone

    def close(self) -> None:
        """Deliver what can be delivered in five seconds; the rest is dropped and counted."""
        with self._changed:
            self._ends = time.monotonic() + _CLOSE_S
            self._changed.notify()
        self._thread.join(_CLOSE_S + 0.5)
        with self._changed:
            self._over = True
            self.dropped += len(self._waiting) + self._under_way
            self._waiting.clear()
        if not self._thread.is_alive():
            self._client.close()

    def _pop(self) -> Mapping[str, Any]:
        record = self._waiting.popleft()
        self._tracks -= record["type"] == "tracks"
        return record

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and self._ends is None:
                    self._changed.wait()
                if self._ends is None and len(self._waiting) < _BATCH:
                    self._changed.wait_for(self._is_batch, _GATHER_S)
                if not self._waiting or self._is_late():
                    return
                records = self._batch()
            if records and not self._deliver(records):
                return

    def _is_batch(self) -> bool:
        return self._ends is not None or len(self._waiting) >= _BATCH

    def _is_late(self) -> bool:
        return self._over or (self._ends is not None and time.monotonic() >= self._ends)

    def _batch(self) -> list[bytes]:
        """Take records for one request."""
        records: list[bytes] = []
        size = 0
        while self._waiting and len(records) < _BATCH and size < _BATCH_BYTES:
            data = encoded(self._pop())
            if data is None:
                self.dropped += 1
                continue
            records.append(data)
            size += len(data)
        self._under_way = len(records)
        return records

    def _deliver(self, records: list[bytes]) -> bool:
        """Send a batch until its fate is known; returns whether it was before the end."""
        site = json.dumps(self._site).encode()
        body = b'{"site":' + site + b',"records":[' + b",".join(records) + b"]}"
        key = uuid.uuid4().hex
        began = time.monotonic()
        while True:
            status, asked_s = self._post(body, key)
            patience = time.monotonic() - began < _PATIENCE_S
            again = status is None or status in _AGAIN or (status >= 500 and patience)
            if status is not None and not again:
                self._done(status, len(records))
                return True
            self._tell(Health.AWAY, status)
            if not self._pause(max(self._backoff.failed(), asked_s)):
                return False

    def _pause(self, seconds: float) -> bool:
        """Wait, less so when the sink is being closed; returns whether there is time for a try."""
        with self._changed:
            if self._ends is None:
                self._changed.wait_for(lambda: self._ends is not None, seconds)
            else:
                self._changed.wait_for(lambda: self._over, min(seconds, _CLOSING_PAUSE_S))
            return not self._is_late()

    def _done(self, status: int, records: int) -> None:
        taken = 200 <= status < 300
        with self._changed:
            if self._over:
                return  # they were counted as dropped
            self._under_way = 0
            if taken:
                self.written += records
            else:
                self.dropped += records
        self._backoff.worked()
        self._tell(Health.OK if taken else Health.REFUSED, status)

    def _post(self, body: bytes, key: str) -> tuple[int | None, float]:
        """Try once; returns the answer, None if there was none, and the seconds it asks to wait."""
        import httpx

        headers = {
            "Content-Type": "application/json",
            "User-Agent": "crosscam",
            "Idempotency-Key": key,
            HEADER: signature(self._secret, body, int(time.time())),
        }
        try:
            # The answer's body is of no interest, however long it is.
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                return answer.status_code, _asked(answer)
        except httpx.HTTPError as error:
            self._fault = f"{type(error).__name__}: {error}"
            return None, 0.0

    def _tell(self, health: Health, status: int | None) -> None:
        if health is not self.health:
            self.health = health
            reason = self._fault if status is None else f"status {status}"
            tell = _log.info if health is Health.OK else _log.warning
            tell(f"web hook: {health.value}", hook=self._name, reason=reason)


def _asked(answer: httpx.Response) -> float:
    """Return the seconds that `Retry-After` asks for; dates are not read (RFC 9110, 10.2.3)."""
    text = answer.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return 0.0
    return min(float(text), _LONGEST_ASKED_S)
