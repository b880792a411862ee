"""Identities as they happen against those of `crosscam process`, on the very same detections.

Runs `crosscam process` on the strips of `vtest.avi` (`split_vtest.py`) and on simulated sites, then
plays what its checkpoints hold through live tracking and online association, frame by frame in the
order of capture: the same boxes and embeddings, without the future. Both are scored against the
truth. "told at once" are the ids as they were first given, without corrections. A row that the
output file has already is left as it is if it is not asked for.

    python benchmarks/associate_online.py --assets ../shared/assets \
        --output benchmarks/results/associate_online.json
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from process_identities import brief
from split_vtest import VARIANTS, load_truth, split

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.associate.online import EventKind, IdentityEvent, OnlineAssociation, OnlineConfig
from crosscam_edge.config import SiteConfig as Settings
from crosscam_edge.config import load_config
from crosscam_edge.evaluate import evaluate_mtmc
from crosscam_edge.evaluate.load import load_cameras
from crosscam_edge.offline import ProcessOptions, process
from crosscam_edge.offline.checkpoint import CameraCache, FrameRecord
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_edge.sinks.mot import MotSequence
from crosscam_edge.track import TrackerConfig
from crosscam_edge.track.gaps import TrackRow
from crosscam_edge.track.live import LiveTracking
from crosscam_edge.types import TrackletKey

_STEP_S = 1.0


Looked = tuple[int, str, FrameRecord]
"""Time, camera, and what was found in a frame."""


def frames(run: Path, dim: int) -> Iterator[Looked]:
    """Yield what a run has stored of all cameras, in order of capture."""

    def camera(folder: Path) -> Iterator[Looked]:
        for record in CameraCache(folder, dim).replay():
            yield record.time_ns, folder.name, record

    folders = sorted(f for f in (run / "cache").iterdir() if f.is_dir())
    yield from heapq.merge(*(camera(f) for f in folders), key=lambda item: item[:2])


def only_looked(
    tracks: dict[str, MotSequence], records: Iterable[Looked]
) -> dict[str, MotSequence]:
    """Return what is in the frames that a run has looked at."""
    looked: dict[str, list[int]] = defaultdict(list)
    for _, name, record in records:
        looked[name].append(record.index)
    return {name: each[np.isin(each.frame, looked[name])] for name, each in tracks.items()}


class Labels:
    """Whose each track is, now and as it was first told."""

    def __init__(self) -> None:
        self.first: dict[TrackletKey, int] = {}
        self.now: dict[TrackletKey, int] = {}
        self._into: dict[int, int] = {}

    def take(self, events: Iterable[IdentityEvent]) -> None:
        """Take what happened."""
        for event in events:
            if event.key is not None:
                self.first.setdefault(event.key, event.global_id)
                self.now[event.key] = event.global_id
            if event.kind is EventKind.MERGED:
                self._into[event.other_id] = event.global_id

    def resolved(self) -> dict[TrackletKey, int]:
        """Return the ids after all corrections."""
        out = {}
        for key, global_id in self.now.items():
            while global_id in self._into:
                global_id = self._into[global_id]
            out[key] = global_id
        return out


def play(
    records: Iterable[Looked],
    dim: int,
    *,
    settings: OnlineConfig,
    review_s: float,
    site: AssociationConfig | None = None,
    model_id: str = "stored",
    span: tuple[int, int] | None = None,
    fps: float = 10.0,
) -> tuple[dict[str, list[Any]], Labels, dict[str, Any]]:
    """Play frames in order of capture through live tracking and online association."""
    cameras: dict[str, LiveTracking] = {}
    online = OnlineAssociation(dim=dim, model_id=model_id, site=site, settings=settings)
    labels, rows = Labels(), defaultdict(list)
    stepped = reviewed = None
    spent = {"track": 0.0, "step": 0.0, "review": 0.0}
    asked, missing, now = 0, 0, 0
    for now, name, record in records:
        if span is not None and not span[0] <= record.index < span[1]:
            continue
        stored = dict(zip(record.embedded.tolist(), record.embeddings, strict=True))
        began = time.process_time()
        if name not in cameras:
            tracker = TrackerConfig.above(0.1, embed_every_s=0.5)
            cameras[name] = LiveTracking(name, record.size, fps, tracker=tracker)

        def embed(index: Any, stored: Any = stored) -> Any:
            nonlocal asked, missing
            asked += len(index)
            absent = [i for i in index.tolist() if i not in stored]
            missing += len(absent)
            zero = np.zeros(dim, np.float32)
            return np.stack([stored.get(i, zero) for i in index.tolist()])

        found = cameras[name].step(record.index, now, record.detections, embed)
        rows[name] += found.rows
        for tracklet in found.grown:
            online.observe(tracklet)
        for row in found.rows:
            online.sight(TrackletKey(name, row.track_id), now)
        for tracklet in found.ended:
            online.observe(tracklet, ended=True)
        for key in found.nobody:
            online.discard(key, now)
        spent["track"] += time.process_time() - began
        if stepped is None or now - stepped >= _STEP_S * 1e9:
            began = time.process_time()
            labels.take(online.step(now))
            stepped = now
            spent["step"] += time.process_time() - began
        if reviewed is None or now - reviewed >= review_s * 1e9:
            began = time.process_time()
            review = online.review(now)
            if review is not None:
                online.correct(review, review.solve(model_id, online.site), now)
            reviewed = now
            spent["review"] += time.process_time() - began
    for each in cameras.values():
        last = each.flush()
        for tracklet in last.ended:
            online.observe(tracklet, ended=True)
        for key in last.nobody:
            online.discard(key, now)
    labels.take(online.step(now))
    for _ in range(settings.agreement):
        review = online.review(now)
        if review is not None:
            online.correct(review, review.solve(model_id, online.site), now)
    labels.take(online.step(now))
    figures = {
        "embeddings": asked,
        "embeddings_missing": missing,
        "identities": len(online.people),
        "events": dict(sorted(online.counts.items())),
        "seconds": {k: round(v, 2) for k, v in spent.items()},
    }
    return rows, labels, figures


def sequences(
    rows: dict[str, list[TrackRow]], ids: dict[TrackletKey, int], names: Iterable[str]
) -> dict[str, MotSequence]:
    """Return boxes with global ids, by camera; of two with one id in a frame the surer one."""
    out = {}
    for name in names:
        best: dict[tuple[int, int], TrackRow] = {}
        for row in rows.get(name, []):
            global_id = ids.get(TrackletKey(name, row.track_id))
            if global_id is None:
                continue
            before = best.get((row.frame_index, global_id))
            if before is None or row.confidence > before.confidence:
                best[row.frame_index, global_id] = row
        out[name] = MotSequence.of(
            np.array([frame for frame, _ in best], np.int64),
            np.array([global_id for _, global_id in best], np.int64),
            np.array([row.xyxy for row in best.values()], np.float64),
            track_id=np.array([row.track_id for row in best.values()], np.int64),
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--work", type=Path, default=Path("build/online"))
    parser.add_argument("--strips", nargs="*", choices=sorted(VARIANTS), default=sorted(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[3, 7, 11])
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fps", type=float, default=5.0, help="looked at of a site in a second")
    parser.add_argument("--review", type=float, default=5.0, help="seconds between reviews")
    parser.add_argument("--cost", action="store_true", help="tell time; leave the machine alone")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    assets = Path(args.assets)
    os.environ.setdefault("CROSSCAM_MODELS", str(assets / "models"))
    table: dict[str, Any] = {}
    if args.output and args.output.is_file():
        table = json.loads(args.output.read_text())

    def measure(name: str, videos: list[Path], settings: Settings, folder: Path, run: Path) -> None:
        quiet = settings.outputs.model_copy(
            update={"video": False, "report": False, "crops": False, "cache": True}
        )
        if not (run / "tracks.parquet").is_file():
            process(
                videos,
                run,
                settings.model_copy(update={"outputs": quiet}),
                options=ProcessOptions(overwrite=True),
            )
        rows_of = pq.read_table(run / "embeddings.parquet", columns=["embedding"])
        dim = len(rows_of.column("embedding")[0].as_py())
        truth = load_cameras(folder, ground_truth=True).tracks
        truth = only_looked(truth, frames(run, dim))
        found = only_looked(load_cameras(run).tracks, frames(run, dim))
        rows, labels, figures = play(
            frames(run, dim),
            dim,
            settings=OnlineConfig(),
            review_s=args.review,
            fps=settings.process_fps or 10.0,
        )
        spent = figures.pop("seconds")
        if args.cost:
            figures["processor_seconds"] = spent
        resolved = evaluate_mtmc(truth, sequences(rows, labels.resolved(), truth))
        at_once = evaluate_mtmc(truth, sequences(rows, labels.first, truth))
        table[name] = {
            "process": brief(evaluate_mtmc(truth, found)),
            "online": brief(resolved),
            "told at once": brief(at_once),
            **figures,
        }
        print(name, json.dumps(table[name]), flush=True)

    truth = load_truth(assets / "groundtruth" / "vtest_mot15.txt")
    for variant in args.strips:
        views = VARIANTS[variant]
        folder = args.work / f"vtest-{variant}"
        if not folder.is_dir():
            split(assets / "videos" / "vtest.avi", truth, views, folder)
        videos = [folder / f"{name}.mp4" for name in sorted(views)]
        measure(f"vtest {variant}", videos, Settings(), folder, folder / "run")
    for seed in args.seeds:
        folder = args.work / f"site-{seed}"
        config = SiteConfig(
            people=args.people, cameras=args.cameras, seconds=args.seconds, seed=seed
        )
        if not (folder / "site.yaml").is_file():
            simulate(config, folder)
        settings = load_config(folder / "site.yaml").model_copy(update={"process_fps": args.fps})
        measure(f"site seed {seed}", [], settings, folder, args.work / f"run-{seed}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
