"""Detectors of people against each other on real footage.

* `vtest`: every eighth frame and its ground truth (whole bodies, hidden parts too);
* `hall`, `room`, `shop`: frames of the three other clips with boxes of `data/clip_people.csv`. They
  are a tracker's, over YOLOX-nano, and tell some of the people of a frame, not all. So there
  only recall can be told: the share of those boxes that a detector finds with at most a number of
  boxes a frame, and at a score.

Each detector looks at pictures as the edge has it look. Figures are at IoU 0.5: average precision,
recall at one false box a frame with the score at which that is so, and recall, precision and F1 at
the score that a run uses. A detector is a name of `crosscam models list`, or a bundle.

    python benchmarks/default_detector.py --assets ../shared/assets yolox_nano run/last.bundle
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from default_reid import CLIPS, PEOPLE, frames

from crosscam_deploy.detection_scores import Found, judge
from crosscam_deploy.detections import Detections
from crosscam_edge.detect.select import choose_detector

LEAST = 0.02  # score of the weakest boxes that are asked for


def vtest(assets: Path, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pictures and the boxes of all people."""
    truth: dict[int, list[list[float]]] = defaultdict(list)
    for r in np.loadtxt(assets / "groundtruth" / "vtest_mot15.txt", delimiter=","):
        truth[int(r[0]) - 1].append([r[2], r[3], r[2] + r[4], r[3] + r[5]])
    wanted = set(range(0, 795, every))
    for number, image in frames(assets / "videos" / "vtest.avi", wanted):
        yield image, np.array(truth[number], float).reshape(-1, 4)


def clip(assets: Path, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pictures and the boxes of some people."""
    truth: dict[int, list[list[float]]] = defaultdict(list)
    with PEOPLE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["clip"] == name:
                x, y, w, h = (float(row[k]) for k in ("left", "top", "width", "height"))
                truth[int(row["frame"])].append([x, y, x + w, y + h])
    for number, image in frames(assets / "videos" / CLIPS[name], set(truth)):
        yield image, np.array(truth[number])


def run(
    detector: Any, pictures: Iterator[tuple[np.ndarray, np.ndarray]]
) -> tuple[list[Found], float]:
    """Detect; returns what was found, and milliseconds a picture, the first left out."""
    found, spent = [], []
    for image, truth in pictures:
        began = time.perf_counter()
        seen: Detections = detector.detect([image])[0]
        spent.append(time.perf_counter() - began)
        height, width = image.shape[:2]
        boxes = np.clip(seen.xyxy, 0, [width, height, width, height])
        people = np.clip(truth, 0, [width, height, width, height])
        found.append(Found(boxes, seen.confidence, people, np.zeros(len(people), bool)))
    return found, float(np.median(spent[1:])) * 1e3


def at(found: list[Found], score: float) -> dict[str, float]:
    """Return recall, precision and F1 of boxes from a score on."""
    kept = [
        f._replace(boxes=f.boxes[k], scores=f.scores[k]) for f in found for k in [f.scores >= score]
    ]
    boxes = sum(len(f.scores) for f in kept)
    hits = judge(kept)
    right = hits.most_recall * hits.people
    precision = right / max(boxes, 1)
    both = hits.most_recall + precision
    f1 = 2 * hits.most_recall * precision / both if both else 0.0
    return {"recall": hits.most_recall, "precision": precision, "f1": f1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("detectors", nargs="+")
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--every", type=int, default=8, help="frames of vtest")
    parser.add_argument("--score", type=float, action="append", help="0.3, 0.5 if not given")
    parser.add_argument("--size", type=int, help="longest side of the input; the edge's rule else")
    parser.add_argument("--draw", type=Path, help="folder for some pictures with boxes")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is None:
        parser.error("where are the assets? give --assets or set CROSSCAM_ASSETS")
    assets = Path(args.assets)
    os.environ.setdefault("CROSSCAM_MODELS", str(assets / "models"))
    rows = []
    for name in args.detectors:
        detector, _ = choose_detector(name, min_confidence=LEAST, threads=1, longest=args.size)
        for scene in ("vtest", *CLIPS):
            pictures = vtest(assets, args.every) if scene == "vtest" else clip(assets, scene)
            found, spent = run(detector, pictures)
            if args.draw:
                draw(args.draw, f"{detector.name}-{scene}", found, assets, scene, args.every)
            rows.append(row(detector.name, scene, found, spent, args.score or [0.3, 0.5]))
            print(json.dumps(rows[-1]), flush=True)
        detector.close()
    report = {
        "benchmark": "default_detector",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {"python": platform.python_version(), "cores": os.cpu_count()},
        "every": args.every,
        "size": args.size,
        "results": rows,
    }
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=1) + "\n")


def row(
    name: str, scene: str, found: list[Found], spent: float, scores: list[float]
) -> dict[str, Any]:
    """Return the figures of a detector on a scene."""
    hits = judge(found)
    out: dict[str, Any] = {"detector": name, "scene": scene, "frames": len(found)}
    out |= {"people": hits.people, "ms": round(spent, 1)}
    if scene == "vtest":
        out["ap50"] = round(hits.average_precision, 3)
        out["recall_at_1_false"] = round(hits.recall, 3)
        out["threshold"] = round(min(hits.threshold, 1.0), 3)
        for score in scores:
            out[f"at {score}"] = {k: round(v, 3) for k, v in at(found, score).items()}
        return out
    for score in scores:
        seen = at(found, score)["recall"]
        boxes = sum(int((f.scores >= score).sum()) for f in found) / len(found)
        out[f"at {score}"] = {"recall": round(seen, 3), "boxes_a_frame": round(boxes, 2)}
    return out


def draw(folder: Path, name: str, found: list[Found], assets: Path, scene: str, every: int) -> None:
    """Write some pictures: found green with scores from .3 on, others grey; people red."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = vtest(assets, every) if scene == "vtest" else clip(assets, scene)
    chosen = set(np.linspace(0, len(found) - 1, 4).round().astype(int).tolist())
    for number, ((image, _), seen) in enumerate(zip(pictures, found, strict=True)):
        if number not in chosen:
            continue
        for x0, y0, x1, y1 in seen.truth.round().astype(int).tolist():
            cv2.rectangle(image, (x0, y0), (x1, y1), (0, 0, 255), 1)
        for (x0, y0, x1, y1), score in zip(
            seen.boxes.round().astype(int).tolist(), seen.scores, strict=True
        ):
            if score < 0.15:
                continue
            colour = (0, 255, 0) if score >= 0.3 else (160, 160, 160)
            cv2.rectangle(image, (x0, y0), (x1, y1), colour, 2)
            cv2.putText(image, f"{score:.2f}", (x0, y0 + 12), 0, 0.4, colour, 1)
        cv2.imwrite(str(folder / f"{name}-{number}.jpg"), image)


if __name__ == "__main__":
    main()
