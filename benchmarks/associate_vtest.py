"""Association on split `vtest.avi`: nearest neighbour, average linkage, crosscam.

python benchmarks/associate_vtest.py --assets ../shared/assets --work /tmp/split \
        --output benchmarks/results/associate_vtest.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from associate_data import MODELS, Embedder, tracklets
from scipy.optimize import linear_sum_assignment
from split_vtest import VARIANTS, load_truth, split

from crosscam_edge.associate import associate
from crosscam_edge.associate.constraints import camera_index, seen_at_once
from crosscam_edge.associate.features import mean_embedding
from crosscam_edge.associate.solve import average_linkage
from crosscam_edge.types import Tracklet

Labeller = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def nearest_neighbour(scores: np.ndarray, forbidden: np.ndarray, threshold: float) -> np.ndarray:
    """Online: each tracklet joins the identity of its best earlier match above the threshold."""
    labels = np.full(len(scores), -1)
    for i in range(len(scores)):
        best, found = threshold, -1
        for label in np.unique(labels[:i]):
            members = np.flatnonzero(labels[:i] == label)
            score = scores[i, members].max()
            if score > best and not forbidden[i, members].any():
                best, found = score, label
        labels[i] = found if found >= 0 else i
    return labels


def linkage(scores: np.ndarray, forbidden: np.ndarray, threshold: float) -> np.ndarray:
    """Average linkage on cosines."""
    return average_linkage(scores.astype(np.float32), forbidden, stop=threshold)


def figures(labels: np.ndarray, people: np.ndarray, items: list[Tracklet]) -> dict[str, float]:
    """Return precision, recall, F1 of cross-camera tracklet pairs, and IDF1 over all cameras."""
    camera = camera_index(items)
    cross = np.triu(camera[:, None] != camera[None, :], 1)
    found = (labels[:, None] == labels[None, :]) & cross
    real = (people[:, None] == people[None, :]) & cross
    hits = (found & real).sum()
    _, rows = np.unique(people, return_inverse=True)
    _, columns = np.unique(labels, return_inverse=True)
    frames = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(frames, (rows, columns), [t.observations for t in items])
    best = frames[linear_sum_assignment(-frames)].sum()
    out = {
        "precision": hits / max(found.sum(), 1),
        "recall": hits / max(real.sum(), 1),
        "f1": 2 * hits / max(found.sum() + real.sum(), 1),
        "idf1": best / frames.sum(),
        "identities": float(columns.max() + 1),
    }
    return {key: round(float(value), 4) for key, value in out.items()}


def measure(items: list[Tracklet], people: list[int]) -> dict[str, dict[str, float]]:
    """Return the figures of every method on one set of tracklets."""
    order = sorted(range(len(items)), key=lambda i: (items[i].start_ns, items[i].camera_id))
    items, who = [items[i] for i in order], np.array(people)[order]
    mean = np.stack([mean_embedding(t.embeddings, t.qualities) for t in items])
    scores, forbidden = mean @ mean.T, seen_at_once(items)
    impostors = scores[np.triu(forbidden)]
    fixed = float(np.quantile(impostors, 0.99))  # one false match in a hundred certain impostors
    out: dict[str, dict[str, float]] = {}
    methods: dict[str, Labeller] = {"nearest": nearest_neighbour, "linkage": linkage}
    for name, method in methods.items():
        out[f"{name}, calibrated"] = figures(method(scores, forbidden, fixed), who, items)
        sweep = [
            figures(method(scores, forbidden, t), who, items) for t in np.arange(0.1, 0.96, 0.02)
        ]
        out[f"{name}, hindsight"] = max(sweep, key=lambda f: f["f1"])
    result = associate(items, model_id="benchmark")
    labels = np.array([a.global_id for a in result.assignments])
    out["crosscam"] = figures(labels, who, items)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/split-vtest"), help="folder for the split videos"
    )
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is None:
        parser.error("--assets or CROSSCAM_ASSETS must name a folder with models and footage")
    args.assets = Path(args.assets)
    truth = load_truth(args.assets / "groundtruth" / "vtest_mot15.txt")
    table = {}
    for variant, views in VARIANTS.items():
        folder = args.work / variant
        split(args.assets / "videos" / "vtest.avi", truth, views, folder)
        for model in args.models:
            embed = Embedder(args.assets / "models", model)
            for noisy in (False, True):
                name = f"{variant} {model} {'noisy' if noisy else 'perfect'}"
                table[name] = measure(*tracklets(folder, embed, noisy=noisy))
                print(name, {k: (v["f1"], v["idf1"]) for k, v in table[name].items()}, flush=True)
    methods = list(next(iter(table.values())))
    mean = {
        m: {
            k: round(float(np.mean([row[m][k] for row in table.values()])), 4)
            for k in ("f1", "idf1")
        }
        for m in methods
    }
    print("mean", mean)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({"mean": mean, "runs": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
