"""How fast a training step is, beside the same step in eager torch, and what the loop waits for.

Three steps: `clip_reid`, `ccafl` with pseudo identities and ICAL (stage 3), `ccafl+ccaf` with all
its losses. Each is taken by crosscam's stage and by `train_speed_eager.py`: the same model from the
same seed, the same batches on the device already. Losses are compared first, step by step; then
both take turns. Memory is what the first three steps add to the process, in a process for each.
Then whole epochs of the real loop on pictures from the disk, with and without workers: the share of
their time that is spent waiting for batches.

Other work on the machine makes both sides slower; the time of the processor beside that of the
clock tells how much there was.

    python benchmarks/train_speed.py --output benchmarks/results/train_speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from kernels_cpu import environment
from kernels_train_cpu import resident_kib
from train_speed_eager import Eager

from crosscam_trainer.data.masks import write_masks
from crosscam_trainer.data.silhouette import BoxParser
from crosscam_trainer.loop.devices import launch
from crosscam_trainer.loop.makers import default_makers
from crosscam_trainer.loop.prepare import mask_labels, read_data
from crosscam_trainer.loop.run import TrainingRun
from crosscam_trainer.loop.train import Makers, train
from crosscam_trainer.loop.trainer import seed_torch
from crosscam_trainer.recipe import Recipe

ADAM = {"lr": 3.5e-4, "schedule": "constant"}
ENCODER = {"epochs": 1, "prompts": {"epochs": 1}, "optimiser": ADAM}
STAGE_3 = {"intra": {"epochs": 0}, "ical": {"adv_window": [0, None]}}
# The joint feature alone, and CAL's loss, which the eager side has.
CFM = {"start": 0, "feature": "joint", "minimise": "adversarial"}
IFP = {"features": "joint"}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_reid": ("global", {"name": "clip_reid", **ENCODER}),
    "ccafl": ("intra", {"name": "ccafl", **ENCODER, **STAGE_3}),
    "ccafl+ccaf": ("intra", {"name": "ccafl+ccaf", **ENCODER, **STAGE_3, "cfm": CFM, "ifp": IFP}),
}
SIDES = ("crosscam", "eager")
STEPS = 3
"""Steps whose losses are compared."""


def write_pictures(root: Path, people: int, views: int) -> None:
    """Write people in two cameras, each a colour under noise."""
    rng = np.random.default_rng(0)
    for person in range(people):
        colour = rng.integers(40, 216, 3)
        for camera in "ab":
            for view in range(views):
                image = np.clip(colour + rng.normal(0, 30, (128, 48, 3)), 0, 255).astype(np.uint8)
                file = root / "pics" / f"{person:03d}" / f"{camera}_{view}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), image)


def recipe_of(name: str, root: Path, args: argparse.Namespace, **changes: Any) -> Recipe:
    """Return the recipe of a method."""
    labels, method = METHODS[name]
    data = {"path": root / "pics", "pattern": "{person}/{camera}_{view}.png", "labels": labels}
    data |= {"train_share": 1.0, "masks": root / "masks" if name == "ccafl+ccaf" else None}
    values: dict[str, Any] = {
        "name": "speed",
        "data": data,
        "model": {"tower": args.tower, "size": args.size},
        "augmentation": {"pad": 6},
        "batch": {"people": args.people, "pictures": 4},
        "method": method,
        "loop": {"device": args.device, "workers": 0},
    }
    return Recipe.model_validate(values | changes)


class Side:
    """One way to take the steps of a method."""

    def __init__(self, which: str, recipe: Recipe) -> None:
        data = read_data(recipe)
        makers, world = default_makers(), launch(recipe.loop)
        seed_torch(0, "model")
        model, text = makers.models(recipe, data)
        assert isinstance(text, torch.nn.Module)
        self.run = TrainingRun(
            model.to(world.device),
            data,
            recipe,
            0,
            world,
            text=text.to(world.device),
            mask_labels=mask_labels(recipe),
        )
        seed_torch(0, "stages")
        self.stage = makers.method(recipe).stages(self.run)[-1]
        model.train()
        self.stage.begin(self.run)
        self.run.optimise(self.stage)
        self.stage.begin_epoch(self.run, 0)
        self._eager = Eager(self.run, self.stage) if which == "eager" else None

    def batches(self) -> list[Any]:
        """Return the batches of an epoch, on the device."""
        return list(self.run.batches(self.stage).epoch(0))

    def step(self, batch: Any) -> dict[str, float]:
        """Take a step; its losses."""
        if self._eager is not None:
            losses = self._eager.step(batch)
        else:
            losses = self.stage.step(self.run, batch, 0)
        values = torch.stack([loss.float() for loss in losses.values()]).tolist()
        return dict(zip(losses, values, strict=True))


def compare(sides: dict[str, Side], batches: list[Any]) -> float:
    """End the program when losses differ; returns the largest relative difference of step 1.

    Later steps start from weights on which Adam has made rounding larger: there a thousandth.
    """
    first = 0.0
    for number, batch in enumerate(islice(cycle(batches), STEPS)):
        ours, theirs = (sides[name].step(batch) for name in SIDES)
        if ours.keys() != theirs.keys():
            raise SystemExit(f"losses {sorted(ours)} and {sorted(theirs)}")
        for name, value in ours.items():
            error = abs(value - theirs[name]) / max(abs(theirs[name]), 1e-3)
            first = error if number == 0 and error > first else first
            if not error < (1e-3 if number else 1e-5):
                raise SystemExit(f"step {number + 1}: {name} {value} and {theirs[name]}")
    return first


def timed(sides: dict[str, Side], batches: list[Any], rounds: int) -> dict[str, dict[str, float]]:
    """Take turns; returns medians of the clock and of the processor, and pictures a second."""
    clock: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for number, batch in enumerate(islice(cycle(batches), rounds)):
        for name in SIDES if number % 2 else SIDES[::-1]:
            _wait()
            start = time.perf_counter(), time.process_time()
            sides[name].step(batch)
            _wait()
            clock[name].append(time.perf_counter() - start[0])
            processor[name].append(time.process_time() - start[1])
    pictures = len(batches[0]["index"])
    return {
        name: {
            "median_ms": 1e3 * statistics.median(clock[name]),
            "cpu_median_ms": 1e3 * statistics.median(processor[name]),
            "pictures_per_s": pictures / statistics.median(clock[name]),
            "pictures_per_cpu_s": pictures / statistics.median(processor[name]),
        }
        for name in sides
    }


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_of(side: Side) -> float:
    """Return the MiB by which the first three steps make the process, or the device, larger.

    Gradients and the moments of Adam are in it.
    """
    batch = side.batches()[0]
    cuda = side.run.device.type == "cuda"
    before = torch.cuda.memory_allocated() / 2**20 if cuda else resident_kib("VmRSS") / 2**10
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for _ in range(STEPS):
        side.step(batch)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident_kib("VmHWM") / 2**10
    return float(peak - before)


def waiting(name: str, root: Path, args: argparse.Namespace, workers: int) -> dict[str, float]:
    """Train with the real loop; returns what its last epoch says of speed."""
    loop = {"device": args.device, "workers": workers}
    recipe = recipe_of(name, root, args, loop=loop)
    method = {**recipe.method, "epochs": 2}
    plain = default_makers()
    makers = Makers(plain.models, plain.method, plain.evaluate)
    output = root / f"run-{workers}"
    train(recipe.model_copy(update={"method": method}), output, makers)
    lines = (output / "seed-0" / "metrics.jsonl").read_text().splitlines()
    speeds = [json.loads(line).get("speed") for line in lines]
    return dict([speed for speed in speeds if speed][-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tower", default="crosscam-s")
    parser.add_argument("--size", type=int, nargs=2, default=[128, 64], help="height, width")
    parser.add_argument("--people", type=int, default=16, help="in a batch, four pictures of each")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="of the real loop")
    parser.add_argument("--output", type=Path, help="JSON")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="faster")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)  # side, method, folder
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        which, name, folder = args.peak
        print(peak_of(Side(which, recipe_of(name, Path(folder), args))))
        return
    env = environment(args.threads)
    env["versions"]["torch"] = torch.__version__
    found: dict[str, Any] = {"environment": env, "batch": 4 * args.people, "steps": {}, "loop": {}}
    found |= {"tower": args.tower, "size": args.size, "device": args.device}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pictures(root, 2 * args.people, 4)
        everything = read_data(recipe_of("ccafl", root, args))
        write_masks(everything, BoxParser(), root / "masks")
        for name in args.only:
            found["steps"][name] = row = step_row(name, root, args)
            print(f"{name}: {json.dumps(row)}", flush=True)
        for workers in args.workers:
            found["loop"][f"{workers} workers"] = row = waiting(args.only[0], root, args, workers)
            print(f"loop, {workers} workers: {json.dumps(row)}", flush=True)
    env["load_average_after"] = os.getloadavg()[0]
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n")


def step_row(name: str, root: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one method."""
    recipe = recipe_of(name, root, args)
    sides = {which: Side(which, recipe) for which in SIDES}
    batches = sides["crosscam"].batches()
    row: dict[str, Any] = {"difference": compare(sides, batches)}
    row |= timed(sides, batches, args.rounds)
    for which in SIDES if args.memory else ():
        words = ["--peak", which, name, str(root), "--tower", args.tower, "--device", args.device]
        words += ["--size", *map(str, args.size), "--people", str(args.people)]
        done = subprocess.run(
            [sys.executable, __file__, *words, "--threads", str(args.threads)],
            capture_output=True,
            text=True,
            check=True,
        )
        row[which]["peak_mib"] = float(done.stdout.splitlines()[-1])
    return row


if __name__ == "__main__":
    main()
