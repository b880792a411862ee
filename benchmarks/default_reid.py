"""Re-identification models against each other on real people, across cameras.

Crops are cut from the footage of the test assets:

* `vtest`: people of the ground truth in strips of the picture, each strip a camera with its own
  exposure, colour, scale and noise (`split_vtest.py`);
* `hall`, `room`, `shop`: the three other clips, with boxes and identities of
  `data/clip_people.csv` (boxes by crosscam's tracker, joined to people by looking at them). A
  person's earlier half in time is one camera, the later half another, whose pictures are changed as
  another camera would (`OTHER`).

Every crop is judged at its own resolution and at 48 x 128 pixels. All crops are queries; the
gallery is all crops of other cameras. `mean` is the mean over the four clips. A model is a name of
`crosscam models list` or a bundle.

    python benchmarks/default_reid.py --assets ../shared/assets --crops /tmp/yardstick \
        --output benchmarks/results/default_reid.json osnet_x0_25 0287 0277
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from split_vtest import VARIANTS, View, load_truth, render, rows_in_view

from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.zoo import resolve
from crosscam_kernels import retrieval_metrics
from crosscam_trainer.data.types import Sample
from crosscam_trainer.evaluation.embed import BundleEmbedder

PEOPLE = Path(__file__).parent / "data" / "clip_people.csv"
CLIPS = {
    "hall": "one-by-one-person-detection.mp4",
    "room": "people-detection.264",
    "shop": "nv_Retail02_short.mp4",
}
OTHER = {  # what another camera does to a picture: gains of blue, green, red; gamma; scale; noise
    "cold": View(0, 0, (1.15, 1.0, 0.85), 0.8, 0.7, 4.0),
    "warm": View(0, 0, (0.8, 0.95, 1.15), 1.3, 0.5, 6.0),
    "dark": View(0, 0, (0.75, 0.7, 0.7), 1.5, 0.8, 5.0),
}
SIZES: dict[str, tuple[int, int] | None] = {"native": None, "48x128": (48, 128)}
VIEWS = 8  # crops of a person in a camera, spread over time


class Cut(NamedTuple):
    """A crop of one person."""

    person: int
    camera: str
    image: np.ndarray  # (h, w, 3) BGR


def spread(rows: np.ndarray, number: int) -> np.ndarray:
    """Return at most `number` rows, evenly spread."""
    if len(rows) <= number:
        return rows
    return rows[np.linspace(0, len(rows) - 1, number).round().astype(int)]


def frames(video: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the wanted frames of a video with their numbers."""
    capture = cv2.VideoCapture(str(video))
    for number in range(max(wanted, default=-1) + 1):
        if not capture.grab():
            raise SystemExit(f"{video} ends before frame {number}")
        if number in wanted:
            yield number, capture.retrieve()[1]
    capture.release()


def inside(image: np.ndarray, left: float, top: float, width: float, height: float) -> np.ndarray:
    """Cut a box, as far as it is in the picture."""
    y1, x1 = max(round(top), 0), max(round(left), 0)
    return image[y1 : max(round(top + height), y1 + 2), x1 : max(round(left + width), x1 + 2)]


def vtest(assets: Path, variant: str) -> list[Cut]:
    """Cut the strips of a variant."""
    truth = load_truth(assets / "groundtruth" / "vtest_mot15.txt")
    chosen: dict[int, list[tuple[str, np.ndarray]]] = defaultdict(list)
    for name, view in VARIANTS[variant].items():
        rows = rows_in_view(truth, view)
        for person in np.unique(rows[:, 1]):
            for row in spread(rows[rows[:, 1] == person], VIEWS):
                chosen[int(row[0])].append((name, row))
    rng, out = np.random.default_rng(0), []
    for number, image in frames(assets / "videos" / "vtest.avi", set(chosen)):
        pictures = {n: render(image, v, rng) for n, v in sorted(VARIANTS[variant].items())}
        out += [Cut(int(r[1]), name, inside(pictures[name], *r[2:6])) for name, r in chosen[number]]
    return out


def clip(assets: Path, name: str, variant: str) -> list[Cut]:
    """Cut a clip; the later half of everybody's time is the other camera."""
    rows = []
    with PEOPLE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["clip"] == name:
                box = [float(row[k]) for k in ("left", "top", "width", "height")]
                rows.append([int(row["frame"]), int(row["person"]), *box])
    table = np.array(rows)
    chosen: dict[int, list[tuple[str, np.ndarray]]] = defaultdict(list)
    for person in np.unique(table[:, 1]):
        mine = table[table[:, 1] == person]
        mine = mine[np.argsort(mine[:, 0], kind="stable")]
        half = len(mine) // 2
        for camera, part in (("first", mine[:half]), ("second", mine[half:])):
            for row in spread(part, VIEWS):
                chosen[int(row[0])].append((camera, row))
    rng, out, other = np.random.default_rng(0), [], OTHER[variant]
    for number, image in frames(assets / "videos" / CLIPS[name], set(chosen)):
        for camera, row in chosen[number]:
            crop = inside(image, *row[2:6])
            if camera == "second":
                crop = render(crop, dataclasses.replace(other, right=crop.shape[1]), rng)
            out.append(Cut(int(row[1]), camera, crop))
    return out


def write(cuts: list[Cut], folder: Path, size: tuple[int, int] | None) -> None:
    """Write `<person>/<camera>_<view>.png`."""
    views: dict[tuple[int, str], int] = defaultdict(int)
    for cut in cuts:
        views[cut.person, cut.camera] += 1
        image = cut.image
        if size is not None:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        file = folder / f"{cut.person:03d}" / f"{cut.camera}_{views[cut.person, cut.camera]}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)


def sets(assets: Path, root: Path) -> dict[str, list[str]]:
    """Cut what is not there yet; returns the variants of each clip."""
    variants = {"vtest": list(VARIANTS), **{name: list(OTHER) for name in CLIPS}}
    for name, names in variants.items():
        for variant in names:
            folder = root / f"{name}-{variant}"
            if (folder / "done").is_file():
                continue
            cuts = vtest(assets, variant) if name == "vtest" else clip(assets, name, variant)
            for size, pixels in SIZES.items():
                write(cuts, folder / size, pixels)
            (folder / "done").touch()
    return variants


def samples(folder: Path) -> list[Sample]:
    """Read the layout that `write` makes."""
    files = sorted(folder.glob("*/*.png"))
    cameras = sorted({f.stem.partition("_")[0] for f in files})
    return [Sample(f, int(f.parent.name), cameras.index(f.stem.partition("_")[0])) for f in files]


def scores(rows: np.ndarray, pictures: list[Sample]) -> dict[str, float]:
    """Return mAP and rank-1 of all crops against those of other cameras."""
    people = np.array([s.person for s in pictures])
    cameras = np.array([s.camera for s in pictures])
    found = retrieval_metrics(rows, rows, people, people, cameras, cameras)
    return {"mAP": float(found.mean_ap), "R1": float(found.cmc[0])}


def judge(model: str, root: Path, variants: dict[str, list[str]]) -> dict[str, Any]:
    """Judge a model on everything."""
    bundle = resolve(model, download=False)
    files = [bundle.path / name for name in bundle.manifest.files]
    out: dict[str, Any] = {"bytes": sum(f.stat().st_size for f in files)}
    with open_runtime(bundle, precision="f32", threads=1) as runtime:
        embed = BundleEmbedder(runtime, batch_size=32)
        for size in SIZES:
            table = {}
            for name, names in variants.items():
                found = []
                for variant in names:
                    pictures = samples(root / f"{name}-{variant}" / size)
                    found.append(scores(embed(pictures), pictures))
                table[name] = {k: float(np.mean([f[k] for f in found])) for k in found[0]}
            table["mean"] = {k: float(np.mean([f[k] for f in table.values()])) for k in found[0]}
            out[size] = table
        prep = bundle.manifest.preprocessing
        picture = np.zeros((8, 3, prep.height, prep.width), np.float32)
        runtime.infer(picture)
        took = []
        for _ in range(15):
            start = time.perf_counter()
            runtime.infer(picture)
            took.append(time.perf_counter() - start)
        out["ms_per_crop"] = 1e3 * float(np.median(took)) / len(picture)
    return out


def line(name: str, found: dict[str, Any]) -> str:
    """Return a row of figures in percent: mAP / R1 of each clip, at each size."""
    cells = [
        f"{100 * f['mAP']:5.1f}/{100 * f['R1']:5.1f}"
        for size in SIZES
        for f in found[size].values()
    ]
    return f"{name:28.28s} {' '.join(cells)}  {found['ms_per_crop']:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["osnet_x0_25", "0287", "0277"])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--crops", type=Path, required=True, help="folder to keep the crops in")
    parser.add_argument("--output", type=Path, help="JSON; other models in it are kept")
    args = parser.parse_args()
    if args.assets is None:
        parser.error("--assets or CROSSCAM_ASSETS must name a folder with models and footage")
    os.environ.setdefault("CROSSCAM_MODELS", str(Path(args.assets) / "models"))
    variants = sets(Path(args.assets), args.crops)
    print(" " * 28, " ".join(f"{n:>11s}" for _ in SIZES for n in (*variants, "mean")))
    table: dict[str, Any] = {}
    if args.output and args.output.is_file():
        table = json.loads(args.output.read_text())
    for model in args.models:
        table[Path(model).name] = judge(model, args.crops, variants)
        print(line(model[-28:], table[Path(model).name]), flush=True)
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
