"""Identities across cameras with the real detector and tracker in the loop.

Whole runs of `process` on the strips of `vtest.avi` (`split_vtest.py`) and on simulated sites,
scored against the truth; and, on the very same tracks, what an online nearest neighbour would have
made of them, with a threshold from certain impostors and with the best one by hindsight.

    python benchmarks/process_identities.py --assets ../shared/assets \
        --output benchmarks/results/process_identities.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from associate_vtest import nearest_neighbour
from split_vtest import VARIANTS, load_truth, split

from crosscam_edge.associate.constraints import seen_at_once
from crosscam_edge.associate.features import mean_embedding
from crosscam_edge.config import SiteConfig as Settings
from crosscam_edge.config import load_config
from crosscam_edge.evaluate import MtmcScores, evaluate_mtmc
from crosscam_edge.evaluate.load import load_cameras
from crosscam_edge.offline import ProcessOptions, process
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_edge.sinks.mot import MotSequence
from crosscam_edge.types import Tracklet

Tracks = dict[str, MotSequence]
_NOTHING = np.zeros(4, np.float32)


def tracklets(run: Path) -> list[Tracklet]:
    """Return the tracks that a run has written, in order of time, with their embeddings."""
    columns = ["camera_id", "track_id", "frame", "time_ns"]
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row in pq.read_table(run / "tracks.parquet", columns=columns).to_pylist():
        spans.setdefault((row["camera_id"], row["track_id"]), []).append(
            (row["time_ns"], row["frame"])
        )
    crops: dict[tuple[str, int], list[tuple[float, list[float]]]] = {}
    for row in pq.read_table(run / "embeddings.parquet").to_pylist():
        crops.setdefault((row["camera_id"], row["track_id"]), []).append(
            (row["quality"], row["embedding"])
        )
    out = []
    for (camera, track), sights in spans.items():
        mine = crops.get((camera, track), [])
        rows = np.array([row for _, row in mine], np.float32).reshape(len(mine), -1 if mine else 1)
        out.append(
            Tracklet(
                camera,
                track,
                *(edge(time for time, _ in sights) for edge in (min, max)),
                *(edge(frame for _, frame in sights) for edge in (min, max)),
                len(sights),
                _NOTHING,
                _NOTHING,
                (1, 1),
                rows,
                np.zeros(len(rows), np.int64),
                np.array([quality for quality, _ in mine], np.float32),
            )
        )
    return sorted(out, key=lambda t: (t.start_ns, t.camera_id, t.track_id))


def relabelled(tracks: Tracks, ids: dict[tuple[str, int], int]) -> Tracks:
    """Return the tracks with other global ids."""
    return {
        camera: dataclasses.replace(
            rows, object_id=np.array([ids[camera, int(t)] for t in rows.track_id], np.int64)
        )
        for camera, rows in tracks.items()
    }


def neighbours(run: Path, truth: Tracks, found: Tracks) -> dict[str, MtmcScores]:
    """Score an online nearest neighbour on the tracks of a run, with two thresholds."""
    items = tracklets(run)
    seen = [t for t in items if len(t.embeddings)]
    mean = np.stack([mean_embedding(t.embeddings, t.qualities) for t in seen])
    scores, forbidden = mean @ mean.T, seen_at_once(seen)

    def judged(threshold: float) -> MtmcScores:
        labels = nearest_neighbour(scores, forbidden, threshold)
        ids = {(t.camera_id, t.track_id): len(seen) + i for i, t in enumerate(items)}
        ids |= {(t.camera_id, t.track_id): int(n) for t, n in zip(seen, labels, strict=True)}
        return evaluate_mtmc(truth, relabelled(found, ids))

    fixed = float(np.quantile(scores[np.triu(forbidden)], 0.99))
    sweep = [judged(float(t)) for t in np.arange(0.3, 0.92, 0.04)]
    best = max(sweep, key=lambda s: s.cross_camera.idf1)
    return {"nearest neighbour, calibrated": judged(fixed), "nearest neighbour, hindsight": best}


def brief(scores: MtmcScores) -> dict[str, float]:
    """Return the figures that matter."""
    across, pairs, union = scores.cross_camera, scores.pairs, scores.union
    out = {
        "IDF1": across.idf1,
        "IDP": across.idp,
        "IDR": across.idr,
        "pair_precision": pairs.precision,
        "pair_recall": pairs.recall,
        "pair_F1": pairs.f1,
        "union_MOTA": union.clear.mota,
        "union_IDF1": union.identity.idf1,
    }
    return {key: round(float(value), 4) for key, value in out.items()}


def measure(
    videos: list[Path], settings: Settings, truth_folder: Path, run: Path
) -> dict[str, Any]:
    """Process, score, and compare with a nearest neighbour on the same tracks."""
    quiet = settings.outputs.model_copy(update={"video": False, "report": False, "crops": False})
    result = process(
        videos,
        run,
        settings.model_copy(update={"outputs": quiet}),
        options=ProcessOptions(overwrite=True),
    )
    truth = load_cameras(truth_folder, ground_truth=True).tracks
    found = load_cameras(run).tracks
    table = {"crosscam": evaluate_mtmc(truth, found), **neighbours(run, truth, found)}
    people = len({int(i) for rows in truth.values() for i in rows.object_id})
    return {
        "people": people,
        "identities": result.run.figures.people,
        "models": {kind: model.name for kind, model in result.run.models.items()},
        **{name: brief(scores) for name, scores in table.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--work", type=Path, default=Path("build/identities"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 7, 3, 11])
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is None:
        parser.error("--assets or CROSSCAM_ASSETS must name a folder with models and footage")
    assets = Path(args.assets)
    os.environ.setdefault("CROSSCAM_MODELS", str(assets / "models"))
    table: dict[str, Any] = {}

    def tell(name: str, row: dict[str, Any]) -> None:
        table[name] = row
        print(name, json.dumps(row), flush=True)

    truth = load_truth(assets / "groundtruth" / "vtest_mot15.txt")
    for variant, views in VARIANTS.items():
        folder = args.work / f"vtest-{variant}"
        split(assets / "videos" / "vtest.avi", truth, views, folder)
        videos = [folder / f"{name}.mp4" for name in sorted(views)]
        tell(f"vtest {variant}", measure(videos, Settings(), folder, folder / "run"))
    for seed in args.seeds:
        folder = args.work / f"site-{seed}"
        config = SiteConfig(people=args.people, seconds=args.seconds, seed=seed)
        if not (folder / "site.yaml").is_file():
            simulate(config, folder)
        settings = load_config(folder / "site.yaml")
        tell(
            f"site seed {seed}",
            measure([], settings, folder, args.work / f"run-{seed}"),
        )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
