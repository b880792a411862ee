"""retrieval_metrics and k_reciprocal_rerank against what people use instead, on the CPU.

python benchmarks/kernels_eval_cpu.py [--cases market,msmt17,rerank] [--rounds 3] [--threads 2]
                                      [--output FILE]

Each run of a side is a process of its own: it makes the data from a seed, runs the side on a tiny
problem, so that nothing is imported on the clock, then once on the data, and reports the time and
by how much the peak of resident memory rose over the inputs. Sides take turns; all must agree with
the first on the answer, or nothing is reported. A side that is not installed is left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

# Queries, gallery, features, identities; noise such that mAP is neither 0 nor 1.
SIZES = {
    "market": (3368, 15913, 2048, 751, 4.0),
    "msmt17": (11659, 82161, 768, 3060, 2.5),
    "rerank": (3368, 15913, 2048, 751, 3.0),
    "tiny": (60, 400, 32, 20, 1.0),
    "tiny-rerank": (60, 400, 32, 20, 1.0),
}
BLOCK = 1000  # queries that the NumPy side sorts at a time


def problem(case: str) -> dict[str, np.ndarray]:
    queries, gallery, dim, identities, noise = SIZES[case]
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((identities, dim), np.float32)
    made: dict[str, np.ndarray] = {}
    for side, count in (("query", queries), ("gallery", gallery)):
        ids = rng.integers(0, identities, count)
        rows = rng.standard_normal((count, dim), np.float32)
        rows *= np.float32(noise)
        for start in range(0, count, BLOCK):
            part = rows[start : start + BLOCK]
            part += centre[ids[start : start + BLOCK]]
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        made[side], made[f"{side}_ids"] = rows, ids
        made[f"{side}_cameras"] = rng.integers(0, 6, count)
    return made


def crosscam_metrics(p: dict[str, np.ndarray], threads: int) -> tuple[float, dict[str, float]]:
    from crosscam_kernels import retrieval_metrics

    return retrieval_metrics(**p, metric="inner_product", threads=threads).mean_ap, {}


def numpy_metrics(p: dict[str, np.ndarray], threads: int) -> tuple[float, dict[str, float]]:
    """A stable argsort of blocks of the matrix, then the usual arithmetic."""
    del threads
    precision = []
    for start in range(0, len(p["query"]), BLOCK):
        order = np.argsort(
            -(p["query"][start : start + BLOCK] @ p["gallery"].T), axis=1, kind="stable"
        )
        for q, row in enumerate(order, start):
            own = p["gallery_ids"][row] == p["query_ids"][q]
            kept = ~(own & (p["gallery_cameras"][row] == p["query_cameras"][q]))
            ranks = np.flatnonzero(own[kept]) + 1
            if len(ranks):
                precision.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    return float(np.mean(precision)), {}


def torch_metrics(p: dict[str, np.ndarray], threads: int) -> tuple[float, dict[str, float]]:
    """A stable sort of blocks of the matrix, and all queries of a block at once."""
    import torch

    torch.set_num_threads(threads)
    t = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in p.items()}
    total, counted = 0.0, 0
    for start in range(0, len(t["query"]), BLOCK):
        part = slice(start, start + BLOCK)
        similarity = t["query"][part] @ t["gallery"].T
        order = torch.sort(similarity, dim=1, descending=True, stable=True).indices
        own = t["gallery_ids"][order] == t["query_ids"][part, None]
        seen = t["gallery_cameras"][order] == t["query_cameras"][part, None]
        kept, good = ~(own & seen), own & ~seen
        rank = kept.cumsum(1)
        precision = (good.cumsum(1) / rank.clamp(min=1)).double() * good
        number = good.sum(1)
        total += float((precision.sum(1)[number > 0] / number[number > 0]).sum())
        counted += int((number > 0).sum())
    return total / counted, {}


def torchreid_module(name: str) -> Any:
    """A module of torchreid, which has moved since the version on the package index."""
    try:
        return importlib.import_module(f"torchreid.{name}")
    except ModuleNotFoundError:
        return importlib.import_module(f"torchreid.reid.{name}")


def torchreid_metrics(
    p: dict[str, np.ndarray], threads: int, parts: int = 1
) -> tuple[float, dict[str, float]]:
    """The distance matrix and torchreid's evaluation, the compiled one where it was built.

    It takes 24 bytes a pair. With `parts` the queries, each of which has a match, go through it one
    share after the other.
    """
    del threads
    evaluate_rank = torchreid_module("metrics").evaluate_rank
    total, count = 0.0, len(p["query"])
    for share in np.array_split(np.arange(count), parts):
        labels = [
            p[f"{s}_{n}"][share if s == "query" else slice(None)]
            for n in ("ids", "cameras")
            for s in ("query", "gallery")
        ]
        distances = 1 - p["query"][share] @ p["gallery"].T
        _, mean_ap = evaluate_rank(distances, *labels, use_metric_cuhk03=False)
        total += float(mean_ap) * len(share)
    return total / count, {}


def crosscam_rerank(p: dict[str, np.ndarray], threads: int) -> tuple[float, dict[str, float]]:
    """All distances; the parts are timed as well."""
    from crosscam_kernels import _native, rerank, simd_level

    clock = [time.perf_counter()]
    made = rerank._metric([p["query"], p["gallery"]], "cosine", True, threads)
    clock.append(time.perf_counter())
    lists = rerank._neighbours(made, 21, threads)
    clock.append(time.perf_counter())
    weights = _native.rerank_encode(
        **made._asdict(),
        any_camera=lists,
        intra=None,
        inter=None,
        k1=20,
        half_k1=10,
        k2=6,
        **rerank.CameraAware()._asdict(),
        threads=threads,
        simd=simd_level(),
    )
    columns = rerank._by_column(weights, len(p["query"]), len(made.left))
    sparse = rerank.Reranking(len(p["query"]), made, weights, columns, 0.0, threads)
    sparse.distances()
    clock.append(time.perf_counter())
    full = rerank.Reranking(len(p["query"]), made, weights, columns, 0.3, threads)
    answer = full.distances()
    clock.append(time.perf_counter())
    names = ("farthest_s", "neighbours_s", "encode_and_jaccard_s", "all_distances_s")
    parts = dict(zip(names, np.diff(clock).tolist(), strict=True))
    return float(answer.astype(np.float64).mean()), parts


def torchreid_rerank(p: dict[str, np.ndarray], threads: int) -> tuple[float, dict[str, float]]:
    del threads
    re_ranking = torchreid_module("utils").re_ranking

    def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(2 - 2 * (a @ b.T), 0))  # squared again by torchreid

    q, g = p["query"], p["gallery"]
    answer = re_ranking(euclidean(q, g), euclidean(q, q), euclidean(g, g))
    return float(answer.astype(np.float64).mean()), {}


def reference_rerank(p: dict[str, np.ndarray], threads: int) -> tuple[float, dict[str, float]]:
    del threads
    from crosscam_kernels.reference import rerank

    answer = rerank.k_reciprocal_rerank(p["query"], p["gallery"], dtype=np.float32)
    return float(answer.astype(np.float64).mean()), {}


Side = Callable[[dict[str, np.ndarray], int], tuple[float, dict[str, float]]]
METRICS: dict[str, Side] = {
    "crosscam": crosscam_metrics,
    "numpy": numpy_metrics,
    "torch": torch_metrics,
    "torchreid": torchreid_metrics,
}
RERANK: dict[str, Side] = {"crosscam": crosscam_rerank, "torchreid": torchreid_rerank}
SIDES: dict[str, dict[str, Side]] = {
    "market": METRICS,
    # At once torchreid would need 23 GB here.
    "msmt17": {**METRICS, "torchreid": functools.partial(torchreid_metrics, parts=6)},
    "rerank": RERANK,
    "tiny": METRICS,
    "tiny-rerank": {**RERANK, "dense reference": reference_rerank},
}


class PeakMemory:
    """Largest resident set while it is entered, above that at its start, in MB."""

    def __enter__(self) -> PeakMemory:
        self._stop = threading.Event()
        self._before = self._peak = self._resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.megabytes = (max(self._peak, self._resident()) - self._before) / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._peak = max(self._peak, self._resident())

    @staticmethod
    def _resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()


def run_side(case: str, name: str, threads: int) -> None:
    """The child process: prints one line of JSON."""
    made = problem(case)
    try:
        SIDES[case][name](problem("tiny"), threads)  # imports, and wakes threads
        with PeakMemory() as memory:
            start = time.perf_counter()
            answer, parts = SIDES[case][name](made, threads)
            seconds = time.perf_counter() - start
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    row = {"answer": answer, "seconds": seconds, "peak_mb": memory.megabytes, "parts": parts}
    print(json.dumps(row))


def child(case: str, name: str, threads: int) -> dict[str, Any]:
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(variables, str(threads))}
    command = [sys.executable, __file__, "--run", case, name, "--threads", str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def measure(case: str, rounds: int, threads: int) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for name in SIDES[case]:
            if name in missing:
                continue
            row = child(case, name, threads)
            if "missing" in row:
                missing[name] = row["missing"]
                continue
            rows.setdefault(name, []).append(row)
            wanted = rows["crosscam"][0]["answer"]
            if abs(row["answer"] - wanted) > 2e-5:
                raise SystemExit(f"{case}: {name} answers {row['answer']}, not {wanted}")
    sides = {
        name: {
            "median_s": statistics.median(r["seconds"] for r in some),
            "min_s": min(r["seconds"] for r in some),
            "peak_mb": max(r["peak_mb"] for r in some),
            **{p: statistics.median(r["parts"][p] for r in some) for p in some[0]["parts"]},
        }
        for name, some in rows.items()
    }
    for name, figures in sides.items():
        text = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
        print(f"{case} {name}: {text}", flush=True)
    size = dict(zip(("Q", "G", "D"), SIZES[case][:3], strict=True))
    return {"case": case, **size, "sides": sides, "missing": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="market,msmt17,rerank")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--run", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_side(*options.run, options.threads)
        return
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "numpy": metadata.version("numpy"),
        "threads": options.threads,
        "load": os.getloadavg()[0],
        "cases": [measure(c, options.rounds, options.threads) for c in options.cases.split(",")],
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
