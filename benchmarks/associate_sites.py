"""Association anew over the tracks of finished runs, scored against the truth of their sites.

A run of `crosscam process` takes minutes, and what association makes of its tracks takes none: runs
are made once, with several embedders, and association is changed and measured over all of them.

    crosscam simulate -o site3 --people 12 --cameras 4 --seconds 60 --seed 3
    crosscam process -c site3/site.yaml --embedder osnet_x0_25 -o run3
    python benchmarks/associate_sites.py site3=run3 --output benchmarks/results/associate_sites.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from process_identities import brief, relabelled, tracklets

from crosscam_edge.associate import associate
from crosscam_edge.evaluate import evaluate_mtmc
from crosscam_edge.evaluate.load import load_cameras


def measure(site: Path, run: Path) -> dict[str, float | str]:
    """Associate the tracks of a run, and return the figures."""
    items = tracklets(run)
    found = associate(items, model_id="benchmark")
    ids = {
        (item.camera_id, item.track_id): each.global_id
        for item, each in zip(items, found.assignments, strict=True)
    }
    scores = evaluate_mtmc(
        load_cameras(site, ground_truth=True).tracks, relabelled(load_cameras(run).tracks, ids)
    )
    models = json.loads((run / "run.json").read_text(encoding="utf-8"))["models"]
    used = {kind: str(model["name"]) for kind, model in models.items()}
    return used | {"threshold": round(float(found.calibration.threshold), 3)} | brief(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="SITE=RUN")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = {}
    for pair in args.pairs:
        site, _, run = pair.partition("=")
        rows[Path(run).name] = row = measure(Path(site), Path(run))
        print(Path(run).name, json.dumps(row), flush=True)
    mean = {
        name: round(float(np.mean([row[name] for row in rows.values()])), 4)
        for name in ("IDF1", "pair_precision", "pair_recall", "pair_F1")
    }
    print("mean", json.dumps(mean))
    if args.output:
        args.output.write_text(json.dumps({"mean": mean, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
