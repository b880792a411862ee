"""Training methods against each other within seconds a run: what is trained is small.

Two kinds of people: painted ones (`train_methods_painted.py`), and generated ones as a frozen CLIP
sees them (`train_methods_frozen.py`), over which a small head is trained. Every method begins from
the same weights, takes the same number of steps, and is judged on people whom it has never seen; a
run that is in the JSON already is not repeated.

    python benchmarks/train_methods_quick.py --output benchmarks/results/train_methods.json \
        --page docs/guides/methods-compared.md
    python benchmarks/train_methods_quick.py --people --weights clip.safetensors --output …

Without `--weights` generated people are seen by a small CLIP that is trained here first. Whole
towers are trained by `train_methods.py`, minutes a run.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if hasattr(os, "sched_setaffinity"):  # one processor: the kernels' threads would wait for another
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import torch
from train_methods_memory import Kept, MemoryRun
from train_methods_page import write_page
from train_methods_painted import Painted, paint, pretrain

from crosscam_trainer.data.relabel import as_intra_camera
from crosscam_trainer.methods.registry import make_method
from crosscam_trainer.recipe import BatchRecipe, DataRecipe, Recipe

PAINTED = {
    "painted, one outfit": Painted(),
    "painted, two outfits": Painted(people=160, outfits=2, views=2, cast=20.0, noise=15.0),
}
EPOCHS, BATCH = 16, {"people": 16, "pictures": 4, "iterations": 10}
START = 7
"""Epoch of the first adversarial step of every method that has one: 40 % of the schedule."""
ENCODER = {"lr": 2e-3, "warmup_epochs": 1, "schedule": "cosine", "final_lr": 1e-5}
"""Of the encoder, alike for all methods: none shall win by its schedule."""
ADVERSARY = {"lr": 1e-2, "weight_decay": 5e-4, "schedule": "constant"}
"""Of the classifiers that encoders are trained against. The official code's 3.5e-4 has 8,000 steps
before L_ICAL begins; here there are 70."""
PROMPTS = {
    "epochs": 3,
    "batch": 128,
    "optimiser": {"lr": 2e-2, "weight_decay": 1e-4, "schedule": "cosine"},
}
"""As many steps as the schedule has place for, so at a greater rate than the papers' 3.5e-4."""
NEVER = EPOCHS + 1
RANDOM, FIRST = "random weights", "first weights"


def methods(outfits: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return name → (labels, method part of a recipe) of what is compared."""
    common = {"epochs": EPOCHS, "optimiser": ENCODER}
    prompted = common | {"prompts": PROMPTS}
    ical = {"adv_window": [START, None], "optimiser": ADVERSARY}
    ccafl = prompted | {"name": "ccafl", "intra": {"epochs": EPOCHS // 4}, "ical": ical}
    bare = ccafl | {"ical": {"adv_window": None, "optimiser": ADVERSARY}}
    plain = prompted | {"name": "clip_reid"}
    found = {
        "clip_reid, naive": ("intra", plain),
        "ccafl without ICAL": ("intra", bare),
        "ccafl": ("intra", ccafl),
    }
    if outfits == 1:
        slow = ccafl | {"ical": {"adv_window": [START, None]}}
        return found | {
            "ccafl, classifier at 3.5e-4": ("intra", slow),
            "clip_reid": ("global", plain),
        }
    cfm = {"start": START, "optimiser": ADVERSARY}
    without = cfm | {"start": NEVER}
    cal = common | {"name": "cal", "classifier_optimiser": ADVERSARY}
    started = {"clothes_start": START, "adversarial_start": START}
    both = ccafl | {"name": "ccafl+ccaf"}
    ccaf = prompted | {"name": "ccaf"}
    return found | {
        "ccafl+ccaf without CFM": ("intra", both | {"cfm": without}),
        "ccafl+ccaf": ("intra", both | {"cfm": cfm}),
        "clip_reid": ("global", plain),
        "cal without L_CA": ("global", cal | dict.fromkeys(started, NEVER)),
        "cal": ("global", cal | started),
        "cal, epsilon 1": ("global", cal | started | {"epsilon": 1.0}),
        "ccaf without CFM": ("global", ccaf | {"cfm": without}),
        "ccaf": ("global", ccaf | {"cfm": cfm}),
        "ccaf, CFM as CAL": ("global", ccaf | {"cfm": cfm | {"minimise": "adversarial"}}),
    }


def trained(kept: Kept, labels: str, method: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train, and return what was measured."""
    data = as_intra_camera(kept.data) if labels == "intra" else kept.data
    recipe = Recipe(
        name="compared", data=DataRecipe(path="."), batch=BatchRecipe(**BATCH), method=method
    )
    return MemoryRun(kept, data, seed).train(make_method(recipe), {START})


def untrained(kept: Kept, seed: int, *, random: bool) -> dict[str, Any]:
    """Return the figures of the first weights, or of random ones."""
    torch.manual_seed(seed)
    model = kept.first()[0]
    if random:
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return {"figures": kept.judge(model)}


def compared(kept: Kept) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the methods for a set, and what they begin from."""
    first: dict[str, tuple[str, dict[str, Any]]] = {FIRST: ("none", {})}
    if kept.about["kind"] == "painted":  # of the others only the head would be random
        first = {RANDOM: ("none", {})} | first
    return first | methods(int(kept.about["outfits"]))


def say(run: dict[str, Any]) -> None:
    shown = ("mAP", "R1", "clothes-changing/mAP", "camera probe", "clothes probe")
    figures = "  ".join(f"{n} {run['figures'][n]:.3f}" for n in shown if n in run["figures"])
    where = f"{run['set']}: {run['method']}, seed {run['seed']}, {run['cpu_s']} s"
    print(f"{where}: {figures}", flush=True)


def rounded(value: Any) -> Any:
    """Return a JSON value with four decimals."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def sets_of(args: argparse.Namespace) -> dict[str, Kept]:
    """Make the sets that are asked for."""
    if args.people:
        from train_methods_frozen import frozen_sets

        return frozen_sets(tuple(args.sets), args.work, args.weights)
    weights = pretrain()
    wanted = {name: how for name, how in PAINTED.items() if name.startswith(tuple(args.sets))}
    return {name: paint(how, weights) for name, how in wanted.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", action="store_true", help="generated people, extra `synth`")
    parser.add_argument("--weights", type=Path, help="of a CLIP that sees generated people")
    parser.add_argument("--work", type=Path, default=Path("build/compared"), help="pictures")
    parser.add_argument("--output", type=Path, required=True, help="JSON with all runs so far")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables are written anew")
    parser.add_argument("--sets", nargs="*", default=[""], help="names of sets, or beginnings")
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: page only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    content: dict[str, Any] = {"sets": {}, "runs": []}
    if args.output.exists():
        content = json.loads(args.output.read_text())
    content["setting"] = {
        "epochs": EPOCHS,
        "batch": BATCH,
        "start": START,
        "encoder": ENCODER,
        "adversary": ADVERSARY,
        "prompts": PROMPTS,
    }
    known = {(run["set"], run["method"], run["seed"]): run for run in content["runs"]}
    sets = sets_of(args) if args.seeds else {}
    content["sets"] |= {name: dict(kept.about) for name, kept in sets.items()}
    for seed in args.seeds:
        for which, kept in sets.items():
            for name, (labels, method) in compared(kept).items():
                wanted = args.only is None or name in args.only
                if not wanted or (which, name, seed) in known:
                    continue
                began = time.process_time()
                if name in (RANDOM, FIRST):
                    found = untrained(kept, seed, random=name == RANDOM)
                else:
                    found = trained(kept, labels, method, seed)
                run = {"set": which, "method": name, "seed": seed, "labels": labels}
                run["cpu_s"] = round(time.process_time() - began, 1)
                content["runs"].append(rounded(run | found))
                args.output.write_text(json.dumps(content) + "\n")
                say(content["runs"][-1])
    if args.page is not None:
        write_page(content["runs"], args.page)


if __name__ == "__main__":
    main()
