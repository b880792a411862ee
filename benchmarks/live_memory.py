"""What ten minutes of a live site leave in memory of tracking, ids and gallery, in half a minute.

Made people walk through eight cameras that are looked at twice a second, about 58 tracklets a
minute. Their boxes and embeddings are made; tracker, association with its reviews, and gallery are
real. No pictures, no networks: what a live run takes besides is in `live_site.py`.

Once a simulated minute: what Python has allocated (`tracemalloc`: `--traced`, three times as slow),
the memory of the process that is in use and its greatest since the minute before, and what the
latest review took. Events end in a digest: it stays as long as decisions do.

    OPENBLAS_NUM_THREADS=1 python benchmarks/live_memory.py --minutes 10 --traced
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosscam_deploy.detections import Detections
from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.gallery import Gallery
from crosscam_edge.live import identities as live
from crosscam_edge.track import TrackerConfig
from crosscam_edge.track.live import LiveFrame, LiveTracking

CAMERAS, PEOPLE, FPS, DIM = 8, 36, 2.0, 256
WIDTH, HEIGHT = 1280, 720
_S = 1_000_000_000
_BEGAN = 1_700_000_000 * _S


class Walker:
    """Somebody who crosses the view of one camera after the other.

    Args:
        look: `(D,)` what they look like.
        rng: Of all that is random.
    """

    def __init__(self, look: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.camera: int | None = None
        self.now = look
        self._look, self._rng = look, rng
        self._away = rng.uniform(0, 30)
        self._x = self._y = self._speed = self._height = 0.0

    def step(self, seconds: float) -> None:
        """Go on for a moment."""
        if self.camera is not None:
            self._x += self._speed * seconds
            if not -20 <= self._x <= WIDTH + 20:
                self.camera, self._away = None, self._rng.uniform(5, 35)
            return
        self._away -= seconds
        if self._away > 0:
            return
        rng = self._rng
        self.camera = int(rng.integers(CAMERAS))
        direction = rng.choice([-1, 1])
        self._speed = direction * WIDTH / rng.uniform(10, 22)
        self._x = 0.0 if direction > 0 else float(WIDTH)
        self._y, self._height = rng.uniform(250, 500), rng.uniform(120, 220)
        self.now = self._look + 0.4 * rng.normal(size=DIM)

    def box(self) -> tuple[float, float, float, float] | None:
        """Return where they are, pixels; None when they are nowhere to be seen."""
        if self.camera is None or not 0 < self._x < WIDTH:
            return None
        half, tall = 0.2 * self._height, self._height / 2
        return self._x - half, self._y - tall, self._x + half, self._y + tall


class Camera:
    """A camera, and the tracks of it.

    Args:
        number: Which.
        common: `(D,)` what all have in common.
        rng: Of all that is random.
    """

    def __init__(self, number: int, common: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.number = number
        self._cast, self._rng = common + 0.5 * rng.normal(size=DIM), rng
        tracker = TrackerConfig.above(0.25, embed_every_s=0.5)
        self._tracking = LiveTracking(f"cam{number}", (WIDTH, HEIGHT), FPS, tracker=tracker)

    def look(self, frame: int, now: int, people: list[Walker]) -> LiveFrame:
        """Return what a picture brought."""
        found = [(w, box) for w in people if w.camera == self.number and (box := w.box())]
        xyxy = np.array([box for _, box in found], np.float32).reshape(-1, 4)
        xyxy += self._rng.normal(scale=2.0, size=xyxy.shape).astype(np.float32)
        xyxy = np.clip(xyxy, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.float32)
        confidence = self._rng.uniform(0.6, 0.9, len(found)).astype(np.float32)
        detections = Detections(xyxy, confidence, np.zeros(len(found), np.int64))

        def embed(index: NDArray[np.intp]) -> NDArray[np.float32]:
            rows = np.array([found[i][0].now for i in index.tolist()]).reshape(-1, DIM)
            rows = rows + self._cast + 0.5 * self._rng.normal(size=rows.shape)
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            return (rows / length).astype(np.float32)

        return self._tracking.step(frame, now, detections, embed)


def memory_mib() -> tuple[float, float]:
    """Return what is in use of this process, and the most since the last call."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return round(now, 1), round(most, 1)


def run(minutes: int, review_s: float, seed: int, folder: Path) -> str:
    """Play it, print a line each minute, and return the digest of all events."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=DIM)
    people = [Walker(rng.normal(size=DIM), rng) for _ in range(PEOPLE)]
    cameras = [Camera(number, common, rng) for number in range(CAMERAS)]
    now, digest, largest = _BEGAN, hashlib.sha256(), 0
    gallery = Gallery(folder / "gallery.db", model_id="made", dim=DIM, now_ns=lambda: now)
    live._REVIEW_NS, live._REST = round(review_s * _S), 0.0  # as often, however quick the machine
    ids = live.Identities(
        dim=DIM, model_id="made", site=AssociationConfig(), gallery=gallery, now_ns=now
    )
    for frame in range(round(minutes * 60 * FPS) + 1):
        now = _BEGAN + round(frame / FPS * _S)
        for each in people:
            each.step(1 / FPS)
        for camera in cameras:
            ids.take(camera.look(frame, now, people), now)
        for event in ids.step(now):
            digest.update(repr((event.kind.value, event.time_ns, event.global_id, event.key,
                                event.other_id)).encode())  # fmt: skip
        if ids._running is not None:
            before = tracemalloc.get_traced_memory()[0]
            if tracemalloc.is_tracing():
                tracemalloc.reset_peak()
            ids._running[1].exception()  # waits: the next second comes when the review is done
            largest = tracemalloc.get_traced_memory()[1] - before
        if frame % round(60 * FPS) == 0:
            gallery.writer.flush()
            resident, most = memory_mib()
            print(json.dumps({
                "minute": round(frame / FPS / 60), "tracklets": ids.online.people.tracklets,
                "people": len(ids.online.people), "reviews": ids.reviews,
                "resident_mib": resident, "most_mib": most,
                "allocated_mib": round(tracemalloc.get_traced_memory()[0] / 2**20, 2),
                "review_mib": round(largest / 2**20, 1),
            }), flush=True)  # fmt: skip
    ids.finish(now)
    gallery.close()
    return digest.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10, help="that are made up")
    parser.add_argument("--review", type=float, default=20.0, help="seconds between reviews")
    parser.add_argument("--traced", action="store_true", help="what Python allocated, too")
    parser.add_argument("--seed", type=int, default=1, help="of the people")
    args = parser.parse_args()
    if args.traced:
        tracemalloc.start()
    with tempfile.TemporaryDirectory() as folder:
        print("events", run(args.minutes, args.review, args.seed, Path(folder)))


if __name__ == "__main__":
    main()
