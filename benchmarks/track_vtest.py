"""Tracking quality and update cost on one real camera, against other trackers, same detections.

python benchmarks/track_vtest.py --assets ../shared/assets [--rivals SITE_PACKAGES] [--output FILE]

The video is detected and embedded once; then every tracker is given the same detections in the same
process. Rivals (BoxMOT is AGPL-3.0, `trackers` is Apache-2.0) run with their defaults and are left
out when they cannot be imported; `--rivals` names the site-packages folder of an environment that
has them. They run live; those of BoxMOT that use looks get the same embeddings, of every
detection, where ours asks for the few it wants. The scores are TrackEval's. crosscam appears four
times: live, at the end of the video, and both without looks. The harder variants (half the
frame rate, a fifth of the detections lost,
left and right half of the picture) use the same settings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crosscam_deploy.detections import Detections
from crosscam_edge.boxes import iou
from crosscam_edge.detect.select import choose_detector
from crosscam_edge.embed.select import choose_embedder
from crosscam_edge.track import CameraTracking, Tracker, apply_verdict

Boxes = dict[int, list[tuple[int, float, float, float, float]]]
SIZE = (768, 576)


@dataclass
class Scene:
    """Frames of a sequence: index, time, detections, embeddings; and its ground truth."""

    frames: list[tuple[int, int, Detections, np.ndarray]]
    truth: Boxes
    size: tuple[int, int]
    fps: float


def load(assets: Path, detector_name: str, embedder_name: str) -> Scene:
    """Detect and embed every frame of vtest.avi."""
    detector, _ = choose_detector(detector_name, min_confidence=0.1, threads=2)
    embedder, _ = choose_embedder(embedder_name, threads=2)
    frames = []
    for index, image in enumerate(pictures(assets)):
        found = detector.detect([image])[0]
        rows = embedder.embed(image, found.xyxy)
        frames.append((index, index * 100_000_000, found, np.nan_to_num(rows)))
    truth: Boxes = {}
    for r in np.loadtxt(assets / "groundtruth" / "vtest_mot15.txt", delimiter=","):
        truth.setdefault(int(r[0]) - 1, []).append(
            (int(r[1]), r[2], r[3], r[2] + r[4], r[3] + r[5])
        )
    return Scene(frames, truth, SIZE, 10.0)


def pictures(assets: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(assets / "videos" / "vtest.avi"))
    while True:
        ok, image = capture.read()
        if not ok:
            return
        yield image


def scores(scene: Scene, tracks: Boxes) -> dict[str, float]:
    """TrackEval's CLEAR, identity and HOTA figures."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    names: tuple[dict[int, int], dict[int, int]] = ({}, {})
    ids: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    similarity = []
    for index, *_ in scene.frames:
        sides = (scene.truth.get(index, []), tracks.get(index, []))
        for side, known, out in zip(sides, names, ids, strict=True):
            out.append(np.array([known.setdefault(r[0], len(known)) for r in side], int))
        boxes = [np.array([r[1:] for r in side], float).reshape(-1, 4) for side in sides]
        similarity.append(iou(boxes[0], boxes[1]))
    data = {
        "num_tracker_dets": sum(map(len, ids[1])),
        "num_gt_dets": sum(map(len, ids[0])),
        "num_tracker_ids": len(names[1]),
        "num_gt_ids": len(names[0]),
        "num_timesteps": len(similarity),
        "gt_ids": ids[0],
        "tracker_ids": ids[1],
        "similarity_scores": similarity,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        hota = HOTA().eval_sequence(data)
        clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
        identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    return {
        "IDF1": float(identity["IDF1"]),
        "MOTA": float(clear["MOTA"]),
        "HOTA": float(np.mean(hota["HOTA"])),
        "AssA": float(np.mean(hota["AssA"])),
        "IDSW": int(clear["IDSW"]),
        "FP": int(clear["CLR_FP"]),
        "FN": int(clear["CLR_FN"]),
        "ids": len(names[1]),
    }


def live(scene: Scene, *, looks: bool) -> tuple[Boxes, float]:
    """Our tracker frame by frame: what is known at once."""
    tracker = Tracker(frame_rate=scene.fps)
    out: Boxes = {}
    start = time.perf_counter()
    for index, time_ns, found, rows in scene.frames:
        tracks = tracker.update(
            found,
            time_ns=time_ns,
            image_size=scene.size,
            embed=(lambda k, rows=rows: rows[k]) if looks else None,
        )
        out[index] = [
            (i, *map(float, b)) for i, b in zip(tracks.track_id.tolist(), tracks.xyxy, strict=True)
        ]
    return out, (time.perf_counter() - start) / len(scene.frames) * 1e3


def offline(scene: Scene, *, looks: bool) -> tuple[Boxes, float]:
    """Our tracks at the end of the video: noise dropped, gaps filled, fragments joined."""
    tracking = CameraTracking("vtest", scene.size, scene.fps)
    rows, out = [], {}
    start = time.perf_counter()
    for index, time_ns, found, embedded in scene.frames:
        embed = (lambda k, e=embedded: e[k]) if looks else None
        rows += tracking.step(index, time_ns, found, embed)
    kept = apply_verdict(rows, tracking.finish())
    cost = (time.perf_counter() - start) / len(scene.frames) * 1e3
    for row in kept:
        out.setdefault(row.frame_index, []).append((row.track_id, *map(float, row.xyxy)))
    return out, cost


def roboflow(scene: Scene, _: Path, make: Callable[[], Any]) -> tuple[Boxes, float]:
    """A tracker of the library `trackers`."""
    import supervision

    tracker, out, spent = make(), {}, 0.0
    for index, _time, found, _rows in scene.frames:
        given = supervision.Detections(
            xyxy=found.xyxy.copy(),
            confidence=found.confidence.copy(),
            class_id=found.class_id.astype(int),
        )
        start = time.perf_counter()
        got = tracker.update(given)
        spent += time.perf_counter() - start
        ids = got.tracker_id if got.tracker_id is not None else np.full(len(got), -1)
        out[index] = [
            (int(i), *map(float, b)) for i, b in zip(ids, got.xyxy, strict=True) if i >= 0
        ]
    return out, spent / len(scene.frames) * 1e3


def boxmot(scene: Scene, assets: Path, make: Callable[[], Any]) -> tuple[Boxes, float]:
    """A tracker of BoxMOT."""
    tracker, out, spent = make(), {}, 0.0
    for (index, _time, found, _rows), image in zip(scene.frames, pictures(assets), strict=True):
        given = np.column_stack([found.xyxy, found.confidence, found.class_id]).astype(np.float32)
        start = time.perf_counter()
        got = np.asarray(tracker.update(given, image))
        spent += time.perf_counter() - start
        out[index] = [(int(r[4]), *map(float, r[:4])) for r in got.reshape(-1, 8)]
    return out, spent / len(scene.frames) * 1e3


def boxmot_reid(scene: Scene, assets: Path, make: Callable[[], Any]) -> tuple[Boxes, float]:
    """A tracker of BoxMOT that is given the embeddings of every detection."""
    import torch
    from boxmot.structures import Boxes as Geometry
    from boxmot.structures import Detections as Given

    tracker, out, spent = make(), {}, 0.0
    for (index, _time, found, rows), image in zip(scene.frames, pictures(assets), strict=True):
        given = Given(
            geometry=Geometry(torch.from_numpy(found.xyxy.astype(np.float32))),
            scores=torch.from_numpy(found.confidence.astype(np.float32)),
            class_ids=torch.zeros(len(found), dtype=torch.int64),
            sample_id=str(index),
            embeddings=torch.from_numpy(rows.astype(np.float32)),
        )
        start = time.perf_counter()
        got = tracker.update(given, image)
        spent += time.perf_counter() - start
        ids, boxes = got.track_ids.tolist(), got.geometry.values.tolist()
        out[index] = [(int(i), *map(float, b)) for i, b in zip(ids, boxes, strict=True)]
    return out, spent / len(scene.frames) * 1e3


def rivals() -> Iterator[tuple[str, Callable[[Scene, Path], tuple[Boxes, float]]]]:
    """Yield the trackers that can be imported."""
    for package, run, names in (
        (
            "trackers",
            roboflow,
            ["ByteTrackTracker", "OCSORTTracker", "SORTTracker", "CBIoUTracker", "BoTSORTTracker"],
        ),
        ("boxmot", boxmot, ["ByteTrack", "OcSort", "SFSORT", "BoostTrack"]),
        ("boxmot", boxmot_reid, ["BotSort", "DeepOcSort"]),
    ):
        try:
            module = __import__(package)
        except ImportError as error:
            print(f"without {package}: {error}", file=sys.stderr)
            continue
        for name in names:
            make = getattr(module, name)
            label = f"{package} {name}" + (" with looks" if run is boxmot_reid else "")
            yield label, lambda s, a, run=run, make=make: run(s, a, make)


def variants(scene: Scene, seed: int = 0) -> Iterator[tuple[str, Scene]]:
    """Harder versions of the scene."""
    yield "half frame rate", Scene(scene.frames[::2], scene.truth, scene.size, scene.fps / 2)
    rng = np.random.default_rng(seed)
    lossy = []
    for index, time_ns, found, rows in scene.frames:
        keep = rng.random(len(found)) > 0.2
        lossy.append((index, time_ns, found[keep], rows[keep]))
    yield "20 % of detections lost", Scene(lossy, scene.truth, scene.size, scene.fps)
    half = scene.size[0] // 2
    for name, left in (("left half", 0), ("right half", half)):
        frames = []
        for index, time_ns, found, rows in scene.frames:
            box, keep = _window(found.xyxy, left, half)
            part = Detections(box[keep], found.confidence[keep], found.class_id[keep])
            frames.append((index, time_ns, part, rows[keep]))
        truth: Boxes = {}
        for index, people in scene.truth.items():
            box, keep = _window(np.array([r[1:] for r in people]), left, half)
            truth[index] = [
                (r[0], *map(float, b)) for r, b, k in zip(people, box, keep, strict=True) if k
            ]
        yield name, Scene(frames, truth, (half, scene.size[1]), scene.fps)


def _window(box: np.ndarray, left: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as seen by a camera that shows a part of the picture; more than half must show."""
    out = box.copy()
    out[:, [0, 2]] = np.clip(out[:, [0, 2]], left, left + width) - left
    return out, (out[:, 2] - out[:, 0]) > 0.5 * (box[:, 2] - box[:, 0])


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--rivals", type=Path, help="site-packages folder with the rivals")
    parser.add_argument("--detector", default="yolox_nano")
    parser.add_argument("--embedder", default="person-reidentification-retail-0277")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is None:
        parser.error("where are the assets? give --assets or set CROSSCAM_ASSETS")
    if args.rivals:
        sys.path.append(str(args.rivals))
    args.assets = Path(args.assets)
    os.environ.setdefault("CROSSCAM_MODELS", str(args.assets / "models"))
    scene = load(args.assets, args.detector, args.embedder)
    table: list[dict[str, Any]] = []

    def row(tracker: str, variant: str, scene: Scene, result: tuple[Boxes, float]) -> None:
        entry = {"tracker": tracker, "variant": variant, "ms_per_frame": round(result[1], 3)}
        entry |= {k: round(v, 4) for k, v in scores(scene, result[0]).items()}
        table.append(entry)
        print("  ".join(f"{k} {v}" for k, v in entry.items()), flush=True)

    for looks in (True, False):
        suffix = "" if looks else ", no looks"
        row(f"crosscam offline{suffix}", "whole", scene, offline(scene, looks=looks))
        row(f"crosscam live{suffix}", "whole", scene, live(scene, looks=looks))
    runs = list(rivals())
    for name, run in runs:
        row(name, "whole", scene, run(scene, args.assets))
    for variant, part in variants(scene):
        row("crosscam offline", variant, part, offline(part, looks=True))
        row("crosscam live", variant, part, live(part, looks=True))
        for name, run in runs:
            if name.startswith("trackers "):  # BoxMOT's want the pictures of the variant
                row(name, variant, part, run(part, args.assets))
    packages = ["crosscam", "numpy", "scipy", "trackeval", "trackers", "supervision", "boxmot"]
    report = {
        "benchmark": "track_vtest",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "processor": platform.processor(),
            "cores": os.cpu_count(),
            "versions": {p: version(p) for p in packages},
        },
        "detector": args.detector,
        "embedder": args.embedder,
        "detections": sum(len(f[2]) for f in scene.frames),
        "frames": len(scene.frames),
        "results": table,
    }
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
