"""A hundred thousand tracks through online association and gallery: does anything grow for ever?

Made people pass eight cameras for days of simulated time, most of them once, some again later that
day. Their looks are random directions, with a cast for each camera and noise for each track and
crop. Everything behind the tracker is real: decisions, reviews on their thread, the gallery's file.
Only the clock is made: days pass in minutes, so reviews are rarer than live.

At every thousandth track: memory of the process, of it what the association remembers, size of the
gallery's files, milliseconds of a decision, of finding the most alike, and of reading a journey.

    python benchmarks/churn.py --output benchmarks/results/churn.json --plot docs/images/churn.svg
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.gallery import Gallery, Reader
from crosscam_edge.live.identities import Identities
from crosscam_edge.track.live import LiveFrame
from crosscam_edge.types import Tracklet

DIM = 256
CAMERAS = 8
PER_DAY = 7_000
AGAIN = 0.2  # of the visits, by somebody who was there earlier that day
_S = 1_000_000_000
_DAY = 86_400 * _S
_BEGAN = 1_700_000_000 * _S
_CROPS = 6


@dataclass(frozen=True, slots=True)
class Seen:
    """A track as it stands at a moment.

    Attributes:
        time_ns: The moment.
        tracklet: The track.
        ended: Whether it is complete.
        person: Who it is.
    """

    time_ns: int
    tracklet: Tracklet
    ended: bool
    person: int


def passages(tracks: int, seed: int) -> Iterator[Seen]:
    """Yield tracks as cameras would tell them, in order of time: with three crops, and at the end.

    Args:
        tracks: So many.
        seed: Of all that is random.
    """
    rng = np.random.default_rng(seed)
    casts = 0.5 * rng.normal(size=(CAMERAS, DIM))
    common = rng.normal(size=DIM)
    looks: dict[int, tuple[np.ndarray, int]] = {}
    numbers: dict[int, int] = defaultdict(int)
    waiting: list[tuple[int, int, Seen]] = []
    made = people = order = 0
    now = _BEGAN
    while made < tracks:
        now += int(rng.exponential(_DAY / (PER_DAY / 3)))
        while looks and now - next(iter(looks.values()))[1] > 0.8 * _DAY:
            del looks[next(iter(looks))]
        if looks and rng.random() < AGAIN:
            person = int(rng.choice(list(looks)))
        else:
            people += 1
            person, looks[people] = people, (rng.normal(size=DIM), now)
        starts = now
        route = rng.permutation(CAMERAS)[: rng.integers(1, 6)]
        for camera in route:
            lasts = int(rng.uniform(6, 20) * _S)
            numbers[int(camera)] += 1
            whole = _track(
                rng,
                f"c{camera}",
                numbers[int(camera)],
                (starts, starts + lasts),
                common + looks[person][0] + casts[camera],
            )
            for time_ns, ended in ((starts + lasts // 2, False), (starts + lasts, True)):
                tracklet = whole if ended else _half(whole, time_ns)
                order += 1
                heapq.heappush(waiting, (time_ns, order, Seen(time_ns, tracklet, ended, person)))
            starts += lasts + int(rng.uniform(3, 40) * _S)
            made += 1
        while waiting and waiting[0][0] <= now:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _track(
    rng: np.random.Generator, camera: str, number: int, span: tuple[int, int], look: np.ndarray
) -> Tracklet:
    own = look + 0.6 * rng.normal(size=DIM)
    crops = own + 0.6 * rng.normal(size=(_CROPS, DIM))
    crops = (crops / np.linalg.norm(crops, axis=1, keepdims=True)).astype(np.float32)
    box = np.array([100, 100, 140, 220], np.float32)
    times = np.linspace(span[0], span[1], _CROPS).astype(np.int64)
    frames = span[0] // (_S // 10), span[1] // (_S // 10)
    return Tracklet(
        camera, number, *span, *frames, frames[1] - frames[0], box, box, (640, 480),
        crops, times, np.ones(_CROPS, np.float32),
    )  # fmt: skip


def _half(whole: Tracklet, time_ns: int) -> Tracklet:
    kept = whole.embedding_times_ns <= time_ns
    return replace(
        whole,
        end_ns=time_ns,
        embeddings=whole.embeddings[kept],
        embedding_times_ns=whole.embedding_times_ns[kept],
        qualities=whole.qualities[kept],
    )


class Pairs:
    """Whether tracks that follow each other on one visit have one id, as it was told at first."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, int]] = {}
        self.same = self.of = self.wrong = self.told = 0
        self._whose: dict[int, int] = {}

    def take(self, seen: Seen, global_id: int) -> None:
        """Take the id of a track that has ended."""
        before = self._last.get(seen.person)
        if before is not None and seen.tracklet.start_ns - before[1] < 600 * _S:
            self.of += 1
            self.same += before[0] == global_id
        self._last[seen.person] = global_id, seen.tracklet.end_ns
        self.told += 1
        self.wrong += self._whose.setdefault(global_id, seen.person) != seen.person
        for store, most in ((self._last, 5000), (self._whose, 50_000)):
            if len(store) > most:
                del store[next(iter(store))]


def resident_mib() -> float:
    """Return the memory of this process that is in use."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not tell the memory of a process")


def run(tracks: int, keep_days: float, every: int, seed: int, folder: Path) -> dict[str, Any]:
    """Send tracks through, and return what was measured."""
    now = _BEGAN
    gallery = Gallery(
        folder / "gallery.db",
        model_id="made",
        dim=DIM,
        now_ns=lambda: now,
        keep_s=keep_days * 86_400,
    )
    identities = Identities(
        dim=DIM, model_id="made", site=AssociationConfig(), gallery=gallery, now_ns=now
    )
    reader = Reader(folder / "gallery.db")
    pairs, curve, done = Pairs(), [], 0
    stepping: list[float] = []
    began = time.perf_counter()
    for seen in passages(tracks, seed):
        now = seen.time_ns
        tracklet = seen.tracklet
        frame = LiveFrame(
            tracklet.camera_id,
            grown=[] if seen.ended else [tracklet],
            ended=[tracklet] if seen.ended else [],
        )
        start = time.perf_counter()
        identities.take(frame, now)
        identities.step(now)
        stepping.append(time.perf_counter() - start)
        if not seen.ended:
            continue
        owner = identities.id_of(tracklet.key)
        if owner is not None:
            pairs.take(seen, owner)
        done += 1
        if done % every == 0 and owner is not None:
            curve.append(
                {"tracks": done, "days": round((now - _BEGAN) / _DAY, 2)}
                | point(identities, gallery, reader, folder, owner, stepping)
            )
            stepping.clear()
            print(json.dumps(curve[-1]), flush=True)
        if done % 500 == 0:  # live, a day gives the gallery's thread a day to write
            gallery.writer.flush()
    identities.finish(now)
    reader.close()
    gallery.close()
    return {
        "tracks": done,
        "seconds": round(time.perf_counter() - began, 1),
        "keep_days": keep_days,
        "identities_told": identities.online.counts["new"],
        "reviews": identities.reviews,
        "failed_reviews": identities.failures,
        "dropped_writes": gallery.writer.dropped,
        "next_track_has_the_id": round(pairs.same / max(pairs.of, 1), 4),
        "id_was_somebody_elses": round(pairs.wrong / max(pairs.told, 1), 4),
        "curve": curve,
    }


def point(
    identities: Identities,
    gallery: Gallery,
    reader: Reader,
    folder: Path,
    owner: int,
    stepping: list[float],
) -> dict[str, Any]:
    """Return one point of the curves."""
    gallery.writer.flush()
    start = time.perf_counter()
    reader.journey(owner)
    journey = time.perf_counter() - start
    gc.collect()
    online = identities.online
    return {
        "resident_mib": round(resident_mib(), 1),
        "people": len(online.people),
        "members": sum(len(each.members) for each in online.people),
        "gallery_mib": round(sum(f.stat().st_size for f in folder.iterdir()) / 2**20, 1),
        "step_ms_median": round(1e3 * float(np.median(stepping)), 3),
        "step_ms_p99": round(1e3 * float(np.quantile(stepping, 0.99)), 3),
        "journey_ms": round(1e3 * journey, 3),
    }


def plot(curve: list[dict[str, Any]], path: Path) -> None:
    """Draw the curves."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "crosscam"
    from matplotlib import pyplot as plt

    wanted = {
        "resident_mib": "memory, MiB",
        "people": "people remembered",
        "gallery_mib": "gallery, MiB",
        "step_ms_p99": "decision, p99, ms",
    }
    figure, axes = plt.subplots(1, len(wanted), figsize=(13, 3), layout="constrained")
    for axis, (name, title) in zip(axes, wanted.items(), strict=True):
        axis.plot([p["tracks"] / 1000 for p in curve], [p[name] for p in curve], color="#2563a8")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("thousand tracks")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--keep-days", type=float, default=3.0)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(args.tracks, args.keep_days, args.every, args.seed, Path(folder))
    print(json.dumps({key: value for key, value in found.items() if key != "curve"}, indent=1))
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(found["curve"], args.plot)


if __name__ == "__main__":
    main()
