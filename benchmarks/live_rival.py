"""Identities across cameras beside those of BoxMOT and a nearest neighbour, on the same boxes.

Simulated sites are processed once; everybody then gets the boxes of the same frames, and:

* *process*: `crosscam process`, with its own embedder;
* *online* and *told at once*: crosscam's live tracking and online association, frame by frame in
  the order of capture; ids after all corrections, and as they were first given;
* *BoxMOT*: one of its trackers on each camera, with its defaults, and a nearest neighbour on top:
  in order of their starts, a track joins the person of its most alike earlier track, in any camera,
  where the cosine is above a threshold and nobody would be twice in a camera at once.

Online and BoxMOT are told of each embedder that is named: OSNet x0.25, which is the rival's, and
crosscam's. The rival is favoured: every box is embedded for it, a track is compared by the mean of
all its embeddings, also those that come after it would have been told, and the threshold is swept
and the best one taken, once for each site and once for all of them together. crosscam is given no
threshold.

BoxMOT (AGPL-3.0) is no part of crosscam: install it in an environment of its own and name its
site-packages. ::

    python -m venv rival && rival/bin/pip install boxmot
    python benchmarks/live_rival.py --rivals rival/lib/python3.11/site-packages \
        --assets ../shared/assets --output benchmarks/results/live_rival.json

`--cost` adds processor time of tracking and association for a frame, without that of detector and
embedders; it means something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from associate_online import Looked, frames, only_looked, play, sequences
from associate_vtest import nearest_neighbour
from process_identities import brief

from crosscam_edge.associate.constraints import seen_at_once
from crosscam_edge.associate.online import OnlineConfig
from crosscam_edge.config import load_config
from crosscam_edge.embed.base import Embedder
from crosscam_edge.embed.select import choose_embedder
from crosscam_edge.evaluate import evaluate_mtmc
from crosscam_edge.evaluate.load import load_cameras
from crosscam_edge.offline import ProcessOptions, process
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_edge.sinks.mot import MotSequence
from crosscam_edge.types import Tracklet

THRESHOLDS = np.arange(0.2, 0.96, 0.02)
_NOTHING = np.zeros(4, np.float32)
Tracks = dict[str, MotSequence]


@dataclass
class RivalTrack:
    """A track of a rival.

    Attributes:
        camera: Where.
        track: Its number there.
        frames: Of each box.
        times: Of each box, UTC nanoseconds.
        boxes: In pixels.
        rows: Embedding of each box that belongs to a detection.
    """

    camera: str
    track: int
    frames: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)

    def tracklet(self) -> Tracklet:
        """Return it as what may be asked who was seen at once."""
        mean = np.mean(self.rows, axis=0, keepdims=True).astype(np.float32)
        mean /= max(float(np.linalg.norm(mean)), 1e-9)
        return Tracklet(
            self.camera,
            self.track,
            self.times[0],
            self.times[-1],
            self.frames[0],
            self.frames[-1],
            len(self.frames),
            _NOTHING,
            _NOTHING,
            (1, 1),
            mean,
            np.zeros(1, np.int64),
            np.ones(1, np.float32),
        )


def pictures(video: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield some frames of a recording, BGR."""
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                yield index, frame.to_ndarray(format="bgr24")


def embedded(
    records: list[Looked], videos: dict[str, Path], embedder: Embedder
) -> tuple[list[Looked], dict[str, dict[int, np.ndarray]]]:
    """Return the frames with all boxes embedded, and the pictures by camera and frame."""
    seen: dict[str, dict[int, np.ndarray]] = {}
    for camera, video in videos.items():
        wanted = {record.index for _, name, record in records if name == camera}
        seen[camera] = dict(pictures(video, wanted))
    out = []
    for now, camera, record in records:
        rows = np.nan_to_num(embedder.embed(seen[camera][record.index], record.detections.xyxy))
        every = np.arange(len(record.detections))
        out.append((now, camera, replace(record, embedded=every, embeddings=rows)))
    return out, seen


def rival_tracks(
    make: Callable[[], Any], records: list[Looked], seen: dict[str, dict[int, np.ndarray]]
) -> tuple[list[RivalTrack], float]:
    """Run a tracker of BoxMOT on every camera; returns its tracks and processor seconds."""
    import torch
    from boxmot.structures import Boxes, Detections

    trackers: dict[str, Any] = {}
    tracks: dict[tuple[str, int], RivalTrack] = {}
    spent = 0.0
    for now, camera, record in records:
        tracker = trackers.get(camera) or trackers.setdefault(camera, make())
        found = record.detections
        given = Detections(
            geometry=Boxes(torch.from_numpy(found.xyxy.astype(np.float32))),
            scores=torch.from_numpy(found.confidence.astype(np.float32)),
            class_ids=torch.zeros(len(found), dtype=torch.int64),
            sample_id=str(record.index),
            embeddings=torch.from_numpy(record.embeddings.astype(np.float32)),
        )
        began = time.process_time()
        got = tracker.update(given, seen[camera][record.index])
        spent += time.process_time() - began
        ids, indices = got.track_ids.tolist(), got.detection_indices.tolist()
        for track, box, index in zip(ids, got.geometry.values.tolist(), indices, strict=True):
            each = tracks.setdefault((camera, track), RivalTrack(camera, track))
            each.frames.append(record.index)
            each.times.append(now)
            each.boxes.append(box)
            if index >= 0:
                each.rows.append(record.embeddings[index])
    return [each for each in tracks.values() if each.rows], spent


def identities(tracks: list[RivalTrack], cameras: list[str]) -> tuple[list[Tracks], float]:
    """Return what the nearest neighbour makes of the tracks, by threshold, and its seconds."""
    order = sorted(tracks, key=lambda t: (t.times[0], t.camera, t.track))
    items = [each.tracklet() for each in order]
    mean = np.concatenate([item.embeddings for item in items])
    scores, forbidden = mean @ mean.T, seen_at_once(items)
    out, spent = [], 0.0
    for threshold in THRESHOLDS:
        began = time.process_time()
        labels = nearest_neighbour(scores, forbidden, float(threshold)) + 1
        spent = time.process_time() - began
        rows = defaultdict(list)
        for each, label in zip(order, labels.tolist(), strict=True):
            rows[each.camera] += [
                (frame, label, each.track, box)
                for frame, box in zip(each.frames, each.boxes, strict=True)
            ]
        out.append({camera: _sequence(rows[camera]) for camera in cameras})
    return out, spent


def _sequence(rows: list[tuple[int, int, int, list[float]]]) -> MotSequence:
    best = {(frame, label): (track, box) for frame, label, track, box in reversed(rows)}
    return MotSequence.of(
        np.array([frame for frame, _ in best], np.int64),
        np.array([label for _, label in best], np.int64),
        np.array([box for _, box in best.values()], np.float64).reshape(-1, 4),
        track_id=np.array([track for track, _ in best.values()], np.int64),
    )


def site(folder: Path, run: Path, names: list[str], fps: float) -> dict[str, Any]:
    """Measure everybody on one site; rows of BoxMOT are lists, one for each threshold."""
    import boxmot

    settings = load_config(folder / "site.yaml").model_copy(update={"process_fps": fps})
    quiet = settings.outputs.model_copy(
        update={"video": False, "report": False, "crops": False, "cache": True}
    )
    if not (run / "tracks.parquet").is_file():
        settings = settings.model_copy(update={"outputs": quiet})
        process([], run, settings, options=ProcessOptions(overwrite=True))
    column = pq.read_table(run / "embeddings.parquet", columns=["embedding"]).column(0)
    records = list(frames(run, len(column[0].as_py())))
    truth = only_looked(load_cameras(folder, ground_truth=True).tracks, records)
    found = only_looked(load_cameras(run).tracks, records)
    videos = {camera.id: folder / "videos" / f"{camera.id}.mp4" for camera in settings.cameras}
    table: dict[str, Any] = {
        "frames": len(records),
        "boxes": sum(len(record.detections) for _, _, record in records),
        "process": brief(evaluate_mtmc(truth, found)),
    }
    for name in names:
        embedder, _ = choose_embedder(name, threads=1)
        full, seen = embedded(records, videos, embedder)
        rows, labels, figures = play(
            iter(full), embedder.dim, settings=OnlineConfig(), review_s=5.0, fps=fps
        )
        cost = sum(figures["seconds"].values()) / len(full)
        for kind, ids in (("online", labels.resolved()), ("told at once", labels.first)):
            table[f"{kind}, {name}"] = brief(evaluate_mtmc(truth, sequences(rows, ids, truth)))
        table[f"online, {name}"] |= {"embeddings": figures["embeddings"], "seconds_a_frame": cost}
        for tracker in ("ByteTrack", "BotSort", "DeepOcSort"):
            tracks, tracking = rival_tracks(getattr(boxmot, tracker), full, seen)
            by_threshold, matching = identities(tracks, list(truth))
            table[f"BoxMOT {tracker}, {name}"] = [
                {
                    "threshold": round(float(threshold), 2),
                    **brief(evaluate_mtmc(truth, each)),
                    "seconds_a_frame": (tracking + matching) / len(full),
                }
                for threshold, each in zip(THRESHOLDS, by_threshold, strict=True)
            ]
        embedder.close()
    return table


def together(table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the mean IDF1 over the sites, of rivals with the best threshold of all or of each."""
    out: dict[str, Any] = {}
    for name, row in next(iter(table.values())).items():
        if isinstance(row, dict):
            out[name] = {"IDF1": _mean([each[name]["IDF1"] for each in table.values()])}
        elif isinstance(row, list):
            idf1 = np.array([[row["IDF1"] for row in each[name]] for each in table.values()])
            best = int(idf1.mean(axis=0).argmax())
            out[name] = {
                "IDF1, one threshold": _mean(idf1[:, best]),
                "threshold": round(float(THRESHOLDS[best]), 2),
                "IDF1, the best threshold of each site": _mean(idf1.max(axis=1)),
            }
    return out


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), 4)


def shorter(row: dict[str, Any], *, cost: bool) -> dict[str, Any]:
    """Return a site's rows with the best threshold of each rival alone."""
    out: dict[str, Any] = {}
    for name, each in row.items():
        best = max(each, key=lambda r: r["IDF1"]) if isinstance(each, list) else each
        if isinstance(best, dict) and not cost:
            best = {key: value for key, value in best.items() if key != "seconds_a_frame"}
        out[name] = best
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--rivals", type=Path, help="site-packages folder with BoxMOT")
    parser.add_argument("--work", type=Path, default=Path("build/online"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[3, 7, 11])
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fps", type=float, default=5.0, help="looked at of a camera in a second")
    parser.add_argument(
        "--embedders",
        nargs="+",
        default=["osnet_x0_25_msmt17", "person-reidentification-retail-0277"],
    )
    parser.add_argument("--cost", action="store_true", help="tell time; leave the machine alone")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is not None:
        os.environ.setdefault("CROSSCAM_MODELS", str(Path(args.assets) / "models"))
    if args.rivals:
        sys.path.append(str(args.rivals))
    try:
        version = metadata.version("boxmot")
    except metadata.PackageNotFoundError:
        print("BoxMOT is not installed (see the head of this file); nothing to compare with")
        return
    table: dict[str, dict[str, Any]] = {}
    for seed in args.seeds:
        folder = args.work / f"site-{seed}"
        if not (folder / "site.yaml").is_file():
            config = SiteConfig(
                people=args.people, cameras=args.cameras, seconds=args.seconds, seed=seed
            )
            simulate(config, folder)
        row = site(folder, args.work / f"run-{seed}", args.embedders, args.fps)
        table[f"site seed {seed}"] = row
        print(f"site seed {seed}", json.dumps(shorter(row, cost=args.cost)), flush=True)
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            report = {
                "boxmot": version,
                "fps": args.fps,
                "all": together(table),
                **{name: shorter(each, cost=args.cost) for name, each in table.items()},
            }
            args.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
