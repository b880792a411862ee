"""Training methods against each other, on generated people before cameras of different colours.

Two sets: one where everybody wears one outfit and cameras are what differs, and one where clothes
change as well. Every method is trained by the loop of `crosscam train` on the same pictures, from
the same first weights, for the same number of pictures, and judged on people whom it has never
seen. A run that is in the JSON already is not repeated, one that was killed goes on.

    python benchmarks/train_methods.py --tower crosscam-ibn --size 96 48 \
        --weights clip.safetensors --page docs/guides/methods-compared.md \
        --output benchmarks/results/train_methods_towers.json

Pictures are rendered on first use (extra `synth`). First weights of a set are a small CLIP trained
on the captions of the other set, whose people and cameras are others, or those of `--weights`.
`train_methods_quick.py` compares the same methods within seconds a run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
from train_methods_clip import pretrain
from train_methods_page import write_page
from train_methods_people import SETS, TRAINED, make

from crosscam_deploy.hashing import sha256_file
from crosscam_trainer.evaluation.hook import make_evaluation
from crosscam_trainer.loop.devices import launch, leaving
from crosscam_trainer.loop.makers import default_makers
from crosscam_trainer.loop.prepare import read_data
from crosscam_trainer.loop.train import Makers, train
from crosscam_trainer.loop.trainer import seed_torch
from crosscam_trainer.methods.registry import make_method
from crosscam_trainer.people import PeopleConfig
from crosscam_trainer.recipe import ModelRecipe, Recipe

OPTIMISER = {"lr": 2e-3, "warmup_epochs": 1, "schedule": "cosine", "final_lr": 1e-5}
"""Of the encoder, alike for all methods: none shall win by its schedule."""
ADVERSARY = {"lr": 1e-2, "weight_decay": 5e-4, "schedule": "constant"}
"""Of the classifiers that encoders are trained against. The official code's 3.5e-4 has 8,000 steps
before L_ICAL begins; here there are 80."""
NAIVE, BARE = "clip_reid, naive", "ccafl without ICAL"
GREEDY, CENTRED = "ccafl, greedy", "ccafl, centred"


def methods(which: str, epochs: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return name → (labels, method part of the recipe) of what is trained on a set."""
    common = {"epochs": epochs, "optimiser": OPTIMISER}
    prompted = common | {"prompts": {"epochs": 10}}
    half, two_fifths = epochs // 2, round(0.4 * epochs)
    ical = {"adv_window": [half, None], "optimiser": ADVERSARY}
    ccafl = {"name": "ccafl", **prompted, "intra": {"epochs": epochs // 4}, "ical": ical}
    plain = {"name": "clip_reid", **prompted}
    found = {NAIVE: ("intra", plain)}
    if which == "one outfit":
        greedy = {"method": "greedy", "one_per_camera": True}
        centred = {"centre": True, "one_per_camera": True}
        return found | {
            BARE: ("intra", ccafl | {"ical": {"adv_window": None}}),
            "ccafl": ("intra", ccafl),
            GREEDY: ("intra", ccafl | {"association": greedy}),
            CENTRED: ("intra", ccafl | {"association": centred}),
            "clip_reid": ("global", plain),
        }
    both = {"name": "ccafl+ccaf", "cfm": {"start": half, "optimiser": ADVERSARY}}
    cal = {"clothes_start": two_fifths, "adversarial_start": two_fifths}
    cal |= {"classifier_optimiser": ADVERSARY}
    cfm = {"start": two_fifths, "optimiser": ADVERSARY}
    return found | {
        "ccafl": ("intra", ccafl),
        "ccafl+ccaf": ("intra", ccafl | both),
        "clip_reid": ("global", plain),
        "cal": ("global", {"name": "cal", **common, **cal}),
        "ccaf": ("global", {"name": "ccaf", **prompted, "cfm": cfm}),
    }


def recipe_of(
    labels: str,
    method: dict[str, Any],
    folder: Path,
    model: ModelRecipe,
    epochs: int,
    seed: int,
) -> Recipe:
    """Return the recipe of a run."""
    return Recipe.model_validate(
        {
            "name": "compared",
            "data": {"path": folder, "kind": "simulated", "labels": labels, "mask_labels": "lip"},
            "model": model,
            "augmentation": {"pad": 0, "erase": 0.0},
            "batch": {"people": 16, "pictures": 4, "iterations": 10},
            "method": method,
            "loop": {"device": "cpu", "workers": 0, "checkpoint_minutes": 60},
            "evaluation": {"every": max(1, epochs // 2), "split": "test", "probes": True},
            "seeds": [seed],
        }
    )


def untrained(recipe: Recipe) -> dict[str, Any]:
    """Return the figures of the first weights."""
    world = launch(recipe.loop)
    with leaving(world):
        data = read_data(recipe)
        seed_torch(recipe.seeds[0], "model")
        model, _ = default_makers().models(recipe, data)
        evaluate = make_evaluation(recipe, data, world)
        assert evaluate is not None
        with torch.no_grad():
            return {"figures": dict(evaluate(model.eval()))}


def trained(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train, or go on, and return what was measured."""
    plain = default_makers()
    makers = Makers(models=plain.models, method=make_method, evaluate=plain.evaluate)
    train(recipe, folder, makers, resume=folder.exists())
    seed = folder / f"seed-{recipe.seeds[0]}"
    lines = [json.loads(line) for line in (seed / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] == "evaluation.test"]
    epochs = [line for line in lines if "rates" in line]
    return {
        "figures": judged[-1]["figures"],
        "judged": [{"epoch": j["epoch"] + 1, "figures": j["figures"]} for j in judged],
        "epochs": [e["figures"] for e in epochs if e["kind"] == epochs[-1]["kind"]],
    }


def key_of(recipe: Recipe, people: dict[str, Any], *, untouched: bool) -> str:
    """Return what a finished run is recognised by."""
    about: dict[str, Any] = recipe.model_dump(mode="json")
    about |= {"people": people, "untouched": untouched}
    about["data"]["path"] = about["data"]["masks"] = about["model"]["weights"] = None
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8).hexdigest()


def prepare(
    work: Path,
    sets: dict[str, PeopleConfig],
    wanted: list[str],
    epochs: int,
    model: ModelRecipe,
    weights: Path | None,
) -> dict[str, tuple[Path, ModelRecipe]]:
    """Make pictures and first weights; returns both for each set that is wanted."""
    by_outfits = {config.outfits: config for config in sets.values()}
    found = {}
    for name in wanted:
        own = sets[name]
        make(own, work / f"people-{own.outfits}", people=TRAINED)
        other = by_outfits[3 - own.outfits]
        captions = work / f"captions-{other.outfits}"
        file = weights or work / f"clip-{other.outfits}.safetensors"
        if not file.exists():
            make(other, captions, mixed=True)
            pretrain(captions, model, file, epochs)
        known = {"weights": str(file), "weights_sha256": sha256_file(file)}
        found[name] = work / f"people-{own.outfits}", model.model_copy(update=known)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds a run, to see that it works")
    parser.add_argument("--output", type=Path, help="JSON with all runs so far")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables are written anew")
    parser.add_argument("--work", type=Path, default=Path("build/compared"), help="pictures, runs")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tower", default="test-tiny", help="as model.tower of a recipe")
    parser.add_argument("--size", type=int, nargs=2, default=[64, 32], help="height, width")
    parser.add_argument("--weights", type=Path, help="of a CLIP with that tower and size")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets, captions = SETS, 25
    if args.quick:
        few = {"people": 32, "test_share": 0.5, "frame": 240}
        sets = {name: config.model_copy(update=few) for name, config in SETS.items()}
        args.epochs, args.seeds, captions = 4, args.seeds[:1], 1
    about = {name: config.model_dump(mode="json") for name, config in sets.items()}
    model = ModelRecipe(tower=args.tower, size=args.size)
    places = prepare(args.work, sets, args.sets, captions, model, args.weights)
    known = {}
    if args.output is not None and args.output.exists():
        known = {run["key"]: run for run in json.loads(args.output.read_text())["runs"]}
    rows = []
    first = {"first weights": ("global", {"name": "clip_reid"})}
    for seed in args.seeds:
        for which in args.sets:
            for name, (labels, method) in (first | methods(which, args.epochs)).items():
                if args.only is not None and name not in args.only:
                    continue
                recipe = recipe_of(labels, method, *places[which], args.epochs, seed)
                key = key_of(recipe, about[which], untouched=name in first)
                if key not in known:
                    began = time.process_time()
                    folder = args.work / "runs" / key
                    found = untrained(recipe) if name in first else trained(recipe, folder)
                    run = {"key": key, "set": which, "method": name, "seed": seed}
                    run |= {"labels": labels, "cpu_s": round(time.process_time() - began, 1)}
                    known[key] = run | found
                    say(known[key])
                rows.append(known[key])
                if args.output is not None:
                    write(args.output, about, recipe, list(known.values()))
    if args.page is not None:
        towers = [{**row, "set": f"whole towers, {row['set']}"} for row in rows]
        write_page(towers, args.page, pictures=False)


def say(run: dict[str, Any]) -> None:
    shown = ("mAP", "R1", "clothes-changing/mAP", "clothes-changing/R1")
    figures = "  ".join(f"{n} {run['figures'][n]:.3f}" for n in shown if n in run["figures"])
    print(
        f"{run['set']}: {run['method']}, seed {run['seed']}, {run['cpu_s']} s: {figures}",
        flush=True,
    )


def write(output: Path, sets: dict[str, Any], recipe: Recipe, runs: list[Any]) -> None:
    model = recipe.model.model_dump(mode="json", include={"tower", "size", "weights_sha256"})
    setting = {
        "sets": sets,
        "model": model,
        "batch": recipe.batch.model_dump(),
        "optimiser": OPTIMISER,
        "adversary": ADVERSARY,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"setting": setting, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
