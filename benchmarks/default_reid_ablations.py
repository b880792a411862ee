"""What carries over from generated people to real ones: the default recipe with one part changed.

Every variant starts from random weights, takes the same number of batches, and is judged on the
yardstick of `default_reid.py` (real people) and on generated people whom it has not seen. A run
that is in the JSON is not repeated, one that was killed goes on.

    crosscam simulate people -o people --people 1500 --cameras 48 --views 2 --seed 1
    python benchmarks/default_reid_ablations.py --people people --assets ../shared/assets \
        --crops /tmp/yardstick --output benchmarks/results/default_reid_ablations.json

`--other PEOPLE` adds a run on another set of people, `other people`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from default_reid import judge, sets

from crosscam_trainer.loop.makers import default_makers
from crosscam_trainer.loop.train import train
from crosscam_trainer.recipe import Recipe, find_recipe, load_recipe

VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "people are identities, whatever they wear": ["method.identities=people"],
    "no captions": ["method.caption_weight=0"],
    "no identities, captions alone": ["method.id_weight=0", "method.triplet_weight=0"],
    "no camera's colours": [
        "augmentation.cast=0", "augmentation.gamma=0", "augmentation.chroma=0",
        "augmentation.brightness=0", "augmentation.contrast=0",
    ],
    "no loss of resolution, noise, coding": [
        "augmentation.shrink=0", "augmentation.noise=0", "augmentation.coded=0",
    ],
    "exact boxes, nothing erased": ["augmentation.box=0", "augmentation.erase=0"],
    "no IBN": ["model.tower=crosscam-s"],
    "128 x 64": ["model.size=[128,64]"],
}  # fmt: skip
"""Name → what is changed in the recipe `default-reid`."""
OTHER = "other people"
THEN = ["augmentation.erase=0.4", "augmentation.box=0.08"]
"""What the recipe had when this was measured; it is for this measurement that it has it no more."""


def recipe_of(people: Path, changes: list[str], batches: int, seed: int) -> Recipe:
    """Return the recipe of a run: one epoch in which rate and warm-up are spread over `batches`."""
    epochs = 10
    changed = [
        *THEN, f"data.path={people}",
        f"method.epochs={epochs}", f"batch.iterations={batches // epochs}",
        "evaluation.every=10", f"seeds=[{seed}]", *changes,
    ]  # fmt: skip
    return load_recipe(find_recipe("default-reid"), changed)


def run(recipe: Recipe, folder: Path, crops: Path, clips: dict[str, list[str]]) -> dict[str, Any]:
    """Train, or go on, and judge."""
    began = time.process_time()
    train(recipe, folder, default_makers(), resume=folder.exists())
    seed = folder / f"seed-{recipe.seeds[0]}"
    found = judge(str(seed / "last.bundle"), crops, clips)
    told = json.loads((seed / "result.json").read_text())["last"]["figures"]
    figures = {"mAP": told["mAP"], "R1": told["R1"]}
    return {"generated": figures, "real": found, "cpu_s": round(time.process_time() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--crops", type=Path, required=True, help="folder to keep the crops in")
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", nargs="*", choices=[*VARIANTS, OTHER])
    parser.add_argument("--work", type=Path, default=Path("build/ablations"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is None:
        parser.error("--assets or CROSSCAM_ASSETS must name a folder with models and footage")
    torch.set_num_threads(1)
    clips = sets(Path(args.assets), args.crops)
    known: dict[str, Any] = {}
    if args.output and args.output.is_file():
        known = json.loads(args.output.read_text())["runs"]
    todo = {name: (args.people, changes) for name, changes in VARIANTS.items()}
    if args.other is not None:
        todo[OTHER] = (args.other, [])
    for seed in args.seeds:
        for name, (people, changes) in todo.items():
            key = f"{name}, seed {seed}, {args.batches} batches"
            if key in known or (args.only and name not in args.only):
                continue
            recipe = recipe_of(people, changes, args.batches, seed)
            place = args.work / f"{list(todo).index(name)}-{seed}-{args.batches}"
            known[key] = {"changes": changes, **run(recipe, place, args.crops, clips)}
            mean = known[key]["real"]["native"]["mean"]
            print(f"{key}: {100 * mean['mAP']:.1f} / {100 * mean['R1']:.1f}", flush=True)
            if args.output:
                args.output.parent.mkdir(parents=True, exist_ok=True)
                args.output.write_text(json.dumps({"runs": known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
