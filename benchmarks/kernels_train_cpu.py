"""Training operators of crosscam_kernels on a CPU against what people use instead.

python benchmarks/kernels_train_cpu.py [--only batch_hard] [--quick] [--threads 2] [--output FILE]

Forward and backward together. Every rival's loss and gradient are checked against the float64
specification before anything is timed; the sides take turns. A family adds a function to `FAMILIES`
that yields a `Comparison` for each shape. Rivals that are not installed are left out:
pytorch-metric-learning is one of them. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from kernels_cpu import environment, timed
from torch import Tensor
from torch.nn import functional
from train_adversarial import adversarial_sides
from train_memory import loss_sides, specification, update_sides, updated

from crosscam_kernels import triplet_loss
from crosscam_kernels.reference import triplet as triplet_reference

# Loss () and the gradient of the features (N, D); the bank alone where one is updated.
Answer = tuple[Tensor, ...]
Side = Callable[[], Answer]
MARGIN = 0.3


@dataclass(frozen=True)
class Comparison:
    """One problem and who solves it.

    Attributes:
        case: What is compared, for the row of the result.
        sides: Name to a function that solves it once; ``"crosscam"`` is ours.
        wanted: Answer of the float64 specification.
        rtol: Bound on the relative error, in norm, of each part of the answer.
        memory: Name to Python code that sets up the problem and defines ``run()``, for the peak
            memory of a process of its own; may be empty.
    """

    case: Mapping[str, Any]
    sides: Mapping[str, Side]
    wanted: Answer
    rtol: float = 1e-4
    memory: Mapping[str, str] = field(default_factory=dict)


def with_gradient(loss: Callable[[Tensor], Tensor], features: Tensor) -> Side:
    """Forward and backward of `loss` at `features`."""

    def run() -> Answer:
        x = features.detach().requires_grad_()
        value = loss(x)
        (gradient,) = torch.autograd.grad(value, x)
        return value.detach(), gradient

    return run


# ------------------------------------------------------------------------------------------------
# batch_hard and triplet_loss


def eager_triplet(x: Tensor, labels: Tensor) -> Tensor:
    """Batch-hard triplet loss as `reid-strong-baseline` writes it."""
    count = len(x)
    square = x.pow(2).sum(1, keepdim=True)
    distance = square + square.T
    distance = torch.addmm(distance, x, x.T, beta=1, alpha=-2).clamp(min=1e-12).sqrt()
    same = labels.expand(count, count).eq(labels.expand(count, count).T)
    itself = torch.eye(count, dtype=torch.bool)
    far = distance.masked_fill(~same | itself, -1.0).max(1).values
    near = distance.masked_fill(same, torch.inf).min(1).values
    ones = torch.ones_like(far)
    return functional.margin_ranking_loss(near, far, ones, margin=MARGIN)


def chunked_triplet(x: Tensor, labels: Tensor, chunk: int = 512) -> Tensor:
    """The best that plain torch does: search in chunks without gradients, recompute the pairs."""
    positive, negative = [], []
    with torch.no_grad():
        square = x.pow(2).sum(1)
        for start in range(0, len(x), chunk):
            part = slice(start, start + chunk)
            distance = square[part, None] + square[None] - 2 * x[part] @ x.T
            same = labels[part, None] == labels[None]
            far = distance.masked_fill(~same, -torch.inf)
            far.diagonal(start).fill_(-torch.inf)
            positive.append(far.argmax(1))
            negative.append(distance.masked_fill_(same, torch.inf).argmin(1))
    far, near = ((x - x[torch.cat(rows)]).norm(dim=1) for rows in (positive, negative))
    return functional.margin_ranking_loss(near, far, torch.ones_like(far), margin=MARGIN)


def metric_learning(labels: Tensor) -> Callable[[Tensor], Tensor] | None:
    """BatchHardMiner + TripletMarginLoss, mean over all mined triplets; None if not installed."""
    try:
        from pytorch_metric_learning import distances, losses, miners, reducers
    except ImportError:
        return None
    distance = distances.LpDistance(normalize_embeddings=False)
    miner = miners.BatchHardMiner(distance=distance)
    loss = losses.TripletMarginLoss(
        margin=MARGIN, distance=distance, reducer=reducers.MeanReducer()
    )
    return lambda x: loss(x, labels, miner(x, labels))


def batch_hard(quick: bool) -> Iterator[Comparison]:
    """PK batches: four images of each person."""
    for count, dim in ((256, 768),) if quick else ((256, 768), (1024, 768), (4096, 512)):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(count) // 4
        people = torch.randn(count // 4, dim, generator=generator)
        features = 0.3 * people[labels] + torch.randn(count, dim, generator=generator)
        losses: dict[str, Callable[[Tensor], Tensor]] = {
            "crosscam": lambda x, labels=labels: triplet_loss(x, labels, margin=MARGIN),
            "torch eager": lambda x, labels=labels: eager_triplet(x, labels),
            "torch chunked": lambda x, labels=labels: chunked_triplet(x, labels),
        }
        rival = metric_learning(labels)
        if rival is not None:
            losses["pytorch-metric-learning"] = rival
        if not quick:
            compiled = torch.compile(eager_triplet, dynamic=False)
            losses["torch.compile"] = lambda x, f=compiled, labels=labels: f(x, labels)
        exact = with_gradient(
            lambda x, labels=labels: triplet_reference.triplet_loss(x, labels, margin=MARGIN),
            features.double(),
        )
        setup = (
            f"labels = torch.arange({count}) // 4\n"
            f"x = torch.randn({count}, {dim}, requires_grad=True)\n"
        )
        calls = {
            "crosscam": "triplet_loss(x, labels)",
            "torch eager": "eager_triplet(x, labels)",
            "torch chunked": "chunked_triplet(x, labels)",
            "pytorch-metric-learning": "metric_learning(labels)(x)",
        }
        yield Comparison(
            {"op": "triplet_loss", "N": count, "D": dim, "direction": "forward+backward"},
            {name: with_gradient(loss, features) for name, loss in losses.items()},
            exact(),
            memory={
                name: f"{setup}def run():\n    {call}.backward()\n"
                for name, call in calls.items()
                if name in losses
            },
        )


# ------------------------------------------------------------------------------------------------
# memory_infonce, instance_infonce, update_memory


def memory_losses(quick: bool) -> Iterator[Comparison]:
    """Cluster memories (K, D), and CCAFL's banks of 32 instances of each class."""
    shapes: list[tuple[int, tuple[int, ...]]] = [(256, (4096, 512))]
    if not quick:
        shapes += [(256, (16384, 512)), (128, (1041, 32, 768))]
    for count, shape in shapes:
        sides = loss_sides(quick, shape, count)
        features = functional.normalize(
            torch.randn(count, shape[-1], generator=torch.Generator().manual_seed(1))
        )
        setup = (
            f"sides = loss_sides(True, {shape}, {count})\n"
            f"x = torch.randn({count}, {shape[-1]}, requires_grad=True)\n"
        )
        yield Comparison(
            {
                "op": "memory_infonce" if len(shape) == 2 else "instance_infonce",
                "N": count,
                "bank": "x".join(map(str, shape)),
                "direction": "forward+backward",
            },
            {name: with_gradient(loss, features) for name, loss in sides.items()},
            with_gradient(specification(shape, count), features.double())(),
            memory={
                name: f"{setup}def run():\n    sides[{name!r}](x).backward()\n"
                for name in sides
                if name != "torch.compile"
            },
        )


def memory_update(quick: bool) -> Iterator[Comparison]:
    """One batch into a bank, against the usual loop."""
    rows = 4096 if quick else 16384
    for mode in ("momentum", "hardest"):
        yield Comparison(
            {"op": "update_memory", "mode": mode, "N": 256, "K": rows, "D": 512},
            update_sides(mode, rows, 256, 512),
            updated(mode, rows, 256, 512),
            rtol=1e-3,
        )


# ------------------------------------------------------------------------------------------------
# camera_classifier_loss and camera_adversarial_loss


def camera_adversarial(quick: bool) -> Iterator[Comparison]:
    """Market-1501 and MSMT17 as CCAFL trains on them: a class for each camera and person."""
    for shape in ((128, 3262, 2048),) if quick else ((128, 3262, 2048), (256, 4821, 768)):
        for op in ("camera_classifier_loss", "camera_adversarial_loss"):
            sides = adversarial_sides(shape, op, quick)
            leaf = sides["leaf"]
            setup = f"sides = adversarial_sides({shape}, {op!r}, True)\n"
            yield Comparison(
                {
                    "op": op,
                    **dict(zip("NGD", shape, strict=True)),
                    "direction": "forward+backward",
                },
                {name: with_gradient(loss, leaf) for name, loss in sides["losses"].items()},
                with_gradient(sides["exact"], leaf.double())(),
                memory={
                    name: f"{setup}x = sides['leaf'].clone().requires_grad_()\n"
                    f"def run():\n    sides['losses'][{name!r}](x).backward()\n"
                    for name in sides["losses"]
                    if name != "torch.compile"
                },
            )


FAMILIES: dict[str, Callable[[bool], Iterator[Comparison]]] = {
    "batch_hard": batch_hard,
    "memory": memory_losses,
    "memory_update": memory_update,
    "camera_adversarial": camera_adversarial,
}


# ------------------------------------------------------------------------------------------------


def check(comparison: Comparison) -> None:
    """Ends the program when a side's answer is not that of the specification."""
    parts = ("loss", "gradient") if len(comparison.wanted) > 1 else ("bank",)
    for name, side in comparison.sides.items():
        for what, found, wanted in zip(parts, side(), comparison.wanted, strict=True):
            error = float((found.double() - wanted).norm() / wanted.norm())
            if not error <= comparison.rtol:
                raise SystemExit(f"{name} gives a wrong {what} on {comparison.case}: {error:.1e}")


def resident_kib(field: str) -> int:
    """Memory of this process: ``"VmRSS"`` is what it has now, ``"VmHWM"`` the most it had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0])


def peak_mib(code: str, threads: int) -> float:
    """Growth of the peak resident memory by ``run()``, in a process of its own."""
    program = (
        "import ctypes, torch\n"
        "from kernels_train_cpu import *\n"
        f"torch.set_num_threads({threads})\n{code}"
        "run()\n"  # what is imported at the first call is not the operator's
        "ctypes.CDLL(None).malloc_trim(0)\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"  # forgets the peak of imports and setup
        "small = resident_kib('VmRSS')\n"
        "run()\n"
        "print(resident_kib('VmHWM') - small)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1024


def measured(comparison: Comparison, rounds: int, threads: int) -> dict[str, Any]:
    """One row of the result; ratios are rival / crosscam of the medians."""
    check(comparison)
    times: dict[str, dict[str, float]] = timed(dict(comparison.sides), rounds)
    for name, code in comparison.memory.items():
        times[name]["peak_mib"] = peak_mib(code, threads)
    ours = times["crosscam"]["median_ms"]
    ratios = {n: t["median_ms"] / ours for n, t in times.items() if n != "crosscam"}
    label = " ".join(f"{key}={value}" for key, value in comparison.case.items())
    rivals = "  ".join(f"{n} {times[n]['median_ms']:.2f} ({r:.2f}x)" for n, r in ratios.items())
    memory = ", ".join(f"{n} {t['peak_mib']:.0f}" for n, t in times.items() if "peak_mib" in t)
    print(f"{label}: crosscam {ours:.2f} ms  |  {rivals}  |  MiB: {memory}", flush=True)
    return {**comparison.case, "times": times, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(FAMILIES), help="one family; all when left out")
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    env = environment(args.threads)
    for package in ("torch", "pytorch-metric-learning"):
        try:
            env["versions"][package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            env["versions"][package] = "not installed"
    rows = [
        measured(comparison, args.rounds, args.threads)
        for name, family in FAMILIES.items()
        if args.only in (None, name)
        for comparison in family(args.quick)
    ]
    env["load_average_after"] = os.getloadavg()[0]  # above `threads`: others were at work
    if args.output:
        args.output.write_text(json.dumps({"environment": env, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
