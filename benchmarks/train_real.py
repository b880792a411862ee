"""Training on crops of real people, from footage to a bundle, by the commands that a user types.

Crops of the 32 people in the test assets' clips (`default_reid.py`: boxes by ground truth and by
eye), 48 x 128 PNG in two cameras, `<person>/<camera>_<view>.png`. In `vtest` the cameras are two
parts of the picture, elsewhere the later half of everybody's time seen as by another camera. Half
of the people are trained on, the others judged; each seed divides them otherwise.

For every method: `crosscam data check`, `data masks` where it hides clothes, `train`, `eval reid`
on the run and on its bundle, which must agree. With `--process`, the last bundle finds people in
`vtest`'s two cameras. `before` is the same model with its first, random weights.

    python benchmarks/train_real.py --assets ../shared/assets --work /tmp/real \
        --output benchmarks/results/train_real.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import Counter, defaultdict
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch
import yaml
from default_reid import CLIPS, clip, vtest
from split_vtest import VARIANTS, load_truth, split
from train_methods import untrained

from crosscam_edge.cli import main as command
from crosscam_trainer.recipe import load_recipe

PATTERN = "{person}/{camera}_{view}.png"
CAMERAS = {"left": "north", "first": "north", "right": "south", "second": "south"}
SIZE = (48, 128)  # width, height

COMMON = {
    "name": "real",
    "data": {"path": "", "pattern": PATTERN},
    "augmentation": {"pad": 6},
    "batch": {"people": 8, "pictures": 4, "iterations": 8},
    "loop": {"device": "cpu", "workers": 0, "keep": True},
    "evaluation": {"every": 100, "split": "test", "batch_size": 64},
}
OPTIMISER = {"lr": 1e-3, "warmup_epochs": 2, "schedule": "cosine"}


def methods(epochs: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return name → (labels, method part of the recipe); all for the same number of pictures."""
    common = {"epochs": epochs, "optimiser": OPTIMISER, "prompts": {"epochs": max(1, epochs // 2)}}
    half = max(1, epochs // 2)
    intra = {"intra": {"epochs": max(1, epochs // 4)}, "ical": {"adv_window": [half, None]}}
    intra |= {"association": {"method": "greedy", "rate": 1.5, "one_per_camera": True}}
    return {
        "clip_reid, naive": ("intra", {"name": "clip_reid", **common}),
        "ccafl": ("intra", {"name": "ccafl", **common, **intra}),
        "ccafl+ccaf": ("intra", {"name": "ccafl+ccaf", **common, **intra, "cfm": {"start": half}}),
        "clip_reid": ("global", {"name": "clip_reid", **common}),
    }


def cut(assets: Path, folder: Path) -> dict[str, int]:
    """Write the crops, if they are not there; returns people and pictures."""
    there = [len(list(person.iterdir())) for person in folder.iterdir()]
    if there:
        return {"people": len(there), "pictures": sum(there)}
    people, views = set(), Counter[tuple[str, str]]()
    cuts = {name: clip(assets, name, "warm") for name in CLIPS} | {"vtest": vtest(assets, "two")}
    for name, found in cuts.items():
        seen: dict[int, set[str]] = defaultdict(set)
        for each in found:
            seen[each.person].add(each.camera)
        for each in found:
            if len(seen[each.person]) < 2:
                continue  # nobody to find in the other camera
            person, camera = f"{name}{each.person:02d}", CAMERAS[each.camera]
            number = views[person, camera]
            views[person, camera] += 1
            file = folder / person / f"{camera}_{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), cv2.resize(each.image, SIZE, interpolation=cv2.INTER_AREA))
            people.add(person)
    return {"people": len(people), "pictures": sum(views.values())}


def crosscam(*arguments: object, log: Path) -> float:
    """Run a command in this process, note what it said, and return the seconds it took."""
    words = list(map(str, arguments))
    said, started, status = StringIO(), time.monotonic(), 0
    with redirect_stdout(said), redirect_stderr(said):
        try:
            command(words)
        except SystemExit as end:
            status = int(end.code or 0)
    with log.open("a") as file:
        file.write(f"$ crosscam {' '.join(words)}\n{said.getvalue()}\n")
    if status:
        raise SystemExit(f"crosscam {' '.join(words)}: status {status}\n{said.getvalue()}")
    return time.monotonic() - started


def train(
    name: str, labels: str, method: dict[str, Any], pics: Path, seed: int, model: dict[str, Any]
) -> dict[str, Any]:
    """Take a method from crops to a judged bundle."""
    work = pics.parent
    folder = work / f"{name.replace(', ', '-')}-{seed}"
    log, file = work / "log.txt", work / "recipe.yaml"
    data = {**COMMON["data"], "labels": labels, "split_seed": seed}  # type: ignore[dict-item]
    values = {**COMMON, "data": data, "model": model, "method": method, "seeds": [seed]}
    if method["name"] == "ccafl+ccaf":
        data["masks"] = str(work / "masks")
        crosscam("data", "masks", pics, "--pattern", PATTERN, "-o", data["masks"], log=log)
    file.write_text(yaml.safe_dump(values))
    overrides = [f"data.path={pics}"]
    before = untrained(load_recipe(file, overrides))["figures"]
    seconds = crosscam("train", file, *overrides, "--output", folder, "--resume", log=log)
    bundle, out = folder / f"seed-{seed}" / "last.bundle", work / "figures.json"
    crosscam("eval", "reid", "--model", folder, "--json", out, log=log)
    run = json.loads(out.read_text())["protocols"][0]["figures"]
    layout = ("--pattern", PATTERN, "--split-seed", seed)
    crosscam("eval", "reid", "--model", bundle, "--data", pics, *layout, "--json", out, log=log)
    served = json.loads(out.read_text())["protocols"][0]["figures"]
    lines = (folder / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()
    speed = [json.loads(line).get("speed") for line in lines]
    return {
        "before": {k: before[k] for k in ("mAP", "R1")},
        "after": {k: run[k] for k in ("mAP", "R1")},
        "bundle": {k: served[k] for k in ("mAP", "R1")},
        "seconds": round(seconds, 1),  # of this call: little when all was there
        "waiting": max(s["waiting"] for s in speed if s),
    }


def process(assets: Path, work: Path, bundle: Path) -> dict[str, Any]:
    """Find people in the two cameras of `vtest` with a bundle."""
    truth = load_truth(assets / "groundtruth" / "vtest_mot15.txt")
    video, folder = assets / "videos" / "vtest.avi", work / "vtest"
    split(video, truth, VARIANTS["two"], folder)
    videos = [folder / "left.mp4", folder / "right.mp4"]
    options = ("--embedder", bundle, "--no-video", "--overwrite", "-o", work / "processed")
    seconds = crosscam("process", *videos, *options, log=work / "log.txt")
    found = json.loads((work / "processed" / "run.json").read_text())
    people = found["figures"]["people"]
    return {"people": people, "model": found["models"]["embedder"]["name"], "seconds": seconds}


def kept(output: Path | None, table: dict[str, Any]) -> dict[str, Any]:
    """Return the methods of an earlier run with the same crops, model and epochs."""
    if output is None or not output.is_file():
        return {}
    before = json.loads(output.read_text())
    same = all(before.get(key) == value for key, value in table.items())
    return dict(before["methods"]) if same else {}


def line(name: str, runs: list[dict[str, Any]]) -> str:
    """Return a row: mean ± standard deviation over the seeds, in percent."""
    cells = []
    for when in ("before", "after", "bundle"):
        for figure in ("mAP", "R1"):
            values = [100 * run[when][figure] for run in runs]
            spread = f" ± {statistics.stdev(values):4.1f}" if len(values) > 1 else ""
            cells.append(f"{when} {figure} {statistics.fmean(values):5.1f}{spread}")
    return f"{name:18s} " + ", ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--work", type=Path, required=True, help="folder of crops and runs")
    parser.add_argument("--output", type=Path, help="JSON")
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--tower", default="crosscam-s")
    parser.add_argument("--size", type=int, nargs=2, default=[128, 64], help="height, width")
    parser.add_argument("--process", action="store_true", help="also process video with a bundle")
    args = parser.parse_args()
    if args.assets is None:
        parser.error("--assets or CROSSCAM_ASSETS must name a folder with footage")
    torch.set_num_threads(1)
    assets, pics = Path(args.assets), args.work / "pics"
    pics.mkdir(parents=True, exist_ok=True)
    model = {"tower": args.tower, "size": args.size}
    table: dict[str, Any] = {"crops": cut(assets, pics), "epochs": args.epochs, "model": model}
    table["methods"] = kept(args.output, table)
    crosscam(
        "data", "check", pics, "--pattern", PATTERN, "--pictures", "all", log=args.work / "log.txt"
    )
    for name, (labels, method) in methods(args.epochs).items():
        if args.only is not None and name not in args.only:
            continue
        runs = [train(name, labels, method, pics, seed, model) for seed in args.seeds]
        table["methods"][name] = runs
        print(line(name, runs), flush=True)
        if args.process:
            seed = args.seeds[-1]
            folder = args.work / f"{name.replace(', ', '-')}-{seed}"
            last = folder / f"seed-{seed}" / "last.bundle"
            table["process"] = process(assets, args.work, last)
        if args.output:
            args.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
