"""GPU operators of crosscam_kernels against what people use instead, in one call under ten minutes.

python benchmarks/kernels_gpu.py [--only FAMILY ...] [--budget 540] [--output FILE]
python benchmarks/kernels_gpu.py --tiny --device cpu    # the logic of this script, without a GPU

Every answer is checked against the float64 specification before it is timed. The sides of a case
take turns. What is measured is described in `gpu_cases/`; how a family adds itself, in the
docstring of that package. A family or a case that fails is told and stops no other. Exits with 1 if
one did, or if an answer of crosscam was wrong.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import pkgutil
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import gpu_cases
import torch
from gpu_cases.protocol import OURS, Case, Side, Sides
from gpu_measure import Roofs, environment, measured_roofs, peak_megabytes, samples_ms, synchronize


def families(only: list[str] | None) -> list[str]:
    found = sorted(m.name for m in pkgutil.iter_modules(gpu_cases.__path__) if m.name != "protocol")
    unknown = set(only or ()) - set(found)
    if unknown:
        raise SystemExit(f"no such family: {', '.join(sorted(unknown))}; there are {found}")
    return [name for name in found if not only or name in only]


def all_cases(
    names: list[str], device: torch.device, tiny: bool, broken: dict[str, str]
) -> Iterator[tuple[str, Case]]:
    """The cases of all families, taking turns; families that offer none go to `broken`."""
    lists = []
    for name in names:
        try:
            module = importlib.import_module(f"gpu_cases.{name}")
            lists.append([(name, case) for case in module.cases(device, tiny)])
        except Exception as error:  # whatever it is, the other families are measured
            broken[name] = said(error)
    return (pair for pair in chain.from_iterable(zip_longest(*lists)) if pair is not None)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def checked_sides(sides: Sides, device: torch.device) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides whose answer is right, and what is wrong with the others."""
    right: dict[str, Side] = {}
    wrong: dict[str, str] = {}
    for name, side in sides.run.items():
        try:
            answer = side()
            synchronize(device)
            sides.check(name, answer)
        except Exception as error:  # a peer's failure, whatever it is, is a result to report
            wrong[name] = said(error)
        else:
            right[name] = side
    return right, wrong


def row_of(case: Case, name: str, ms: list[float], roofs: Roofs) -> dict[str, Any]:
    p20, p50, p80 = (statistics.quantiles(ms, n=10, method="inclusive")[i] for i in (1, 4, 7))
    floor = roofs.floor_ms(case.bytes_moved, case.flops, case.rate or case.dtype)
    return {
        "op": case.op,
        **case.shape,
        "dtype": case.dtype,
        "direction": case.direction,
        "provider": name,
        "ms_p20": p20,
        "ms_p50": p50,
        "ms_p80": p80,
        "gb_per_s": case.bytes_moved / p50 / 1e6,
        "tflop_per_s": case.flops / p50 / 1e9,
        "floor_ms": floor,
        "share_of_floor": floor / p50 if floor else None,
    }


def measure(
    case: Case, device: torch.device, roofs: Roofs, rounds: int, deadline: float = math.inf
) -> dict[str, Any]:
    """All rows of one case, and what could not be measured. After `deadline` sides turn once."""
    sides = case.prepare()
    right, wrong = checked_sides(sides, device)
    samples: dict[str, list[float]] = {name: [] for name in right}
    for turn in range(rounds):
        if turn and time.monotonic() > deadline:
            break
        for name in list(right):
            try:
                samples[name] += samples_ms(right[name], device)
            except Exception as error:  # out of memory, for one: the others are measured
                wrong[name] = said(error)
                del right[name]
    rows = []
    for name, side in right.items():
        row = row_of(case, name, samples[name], roofs)
        row["peak_mb"] = peak_megabytes(side, device)
        rows.append(row)
    missing = dict(sides.missing)
    if case.graph and device.type == "cuda" and time.monotonic() <= deadline:
        for name, side in right.items():
            try:
                ms = samples_ms(side, device, graph=True)
            except Exception as error:  # not every peer can be captured
                missing[f"{name}, CUDA graph"] = said(error)
            else:
                rows.append(row_of(case, f"{name}, CUDA graph", ms, roofs))
    ours = next((row["ms_p50"] for row in rows if row["provider"] == OURS), None)
    for row in rows:
        row["times_crosscam"] = row["ms_p50"] / ours if ours else None
    return {"label": case.label, "rows": rows, "wrong": wrong, "missing": missing}


def show(result: dict[str, Any]) -> None:
    print(result["label"], flush=True)
    for row in result["rows"]:
        share = f"{row['share_of_floor']:6.1%}" if row["share_of_floor"] else "     -"
        times = f"{row['times_crosscam']:6.2f}x" if row["times_crosscam"] else "      -"
        print(
            f"  {row['provider']:34s} {row['ms_p50']:9.4f} ms [{row['ms_p20']:.4f}, "
            f"{row['ms_p80']:.4f}] {times} {share} of the floor",
            flush=True,
        )
    for name, reason in {**result["wrong"], **result["missing"]}.items():
        print(f"  {name:34s} not measured: {reason}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="small shapes: tests this script")
    parser.add_argument("--only", nargs="+", metavar="FAMILY")
    parser.add_argument(
        "--budget", type=float, default=540, help="seconds; cases that would end later are left out"
    )
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side")
    parser.add_argument("--output", type=Path, help="JSON file, written anew after every case")
    args = parser.parse_args(argv)
    started = time.monotonic()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; --tiny --device cpu tests the script without")
    torch.manual_seed(0)
    roofs = measured_roofs(device, args.tiny)
    result: dict[str, Any] = {
        "environment": environment(device),
        "roofs": roofs.as_json(),
        "cases": [],
        "left_out": [],
        "failed": {},
    }
    wrong = False
    longest: dict[str, float] = {}  # seconds that a case of the family took: the next may as well
    for family, case in all_cases(families(args.only), device, args.tiny, result["failed"]):
        begun = time.monotonic()
        if begun - started + longest.get(family, 0.0) > args.budget:
            result["left_out"].append(case.label)
        else:
            try:
                deadline = started + args.budget
                measured = {"family": family, **measure(case, device, roofs, args.rounds, deadline)}
            except Exception as error:
                result["failed"][case.label] = said(error)
                print(f"{case.label}\n  failed: {said(error)}", flush=True)
            else:
                show(measured)
                result["cases"].append(measured)
                wrong |= any(name.startswith(OURS) for name in measured["wrong"])
            longest[family] = max(longest.get(family, 0.0), time.monotonic() - begun)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        if args.output:
            args.output.write_text(json.dumps(result, indent=1) + "\n")
    for name, reason in result["failed"].items():
        print(f"failed: {name}: {reason}", flush=True)
    if result["left_out"]:
        print(f"no time left for: {'; '.join(result['left_out'])}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if wrong or result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
