"""CPU operators of crosscam_kernels against what people use instead.

python benchmarks/kernels_cpu.py [--quick] [--threads 2] [--output FILE]

Every rival's answer is checked before anything is timed. The sides of a comparison take turns. In
its turn a side first pauses, so that the idle threads of the one before (which spin for a while) do
not slow it, then runs once untimed to wake its own.
Rivals that are not installed are left out; FAISS (`faiss-cpu`) is one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from crosscam_kernels import crop_resize_normalize, simd_level, similarity_topk

Side = Callable[[], Any]
K = 10
PAUSE_S = 0.01  # longer than the spinning of OpenMP, ONNX Runtime and OpenCV workers
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def timed(sides: dict[str, Side], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each side over interleaved rounds."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            time.sleep(PAUSE_S)
            side()
            start = time.perf_counter()
            side()
            samples[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: {"median_ms": statistics.median(ms), "min_ms": min(ms)}
        for name, ms in samples.items()
    }


def report(case: dict[str, Any], times: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Prints one comparison and returns it as a row; ratios are rival / crosscam of the medians."""
    ours = times["crosscam"]["median_ms"]
    ratios = {name: t["median_ms"] / ours for name, t in times.items() if name != "crosscam"}
    label = " ".join(f"{key}={value}" for key, value in case.items())
    rivals = "  ".join(f"{n} {times[n]['median_ms']:.2f} ({r:.2f}x)" for n, r in ratios.items())
    print(f"{label}: crosscam {ours:.2f} ms  |  {rivals}", flush=True)
    return {**case, "times": times, "ratios": ratios}


# ------------------------------------------------------------------------------------------------
# similarity_topk


def onnxruntime_side(gallery: np.ndarray, threads: int) -> Callable[[np.ndarray], Any] | None:
    """MatMul + TopK with the gallery as a constant, which ONNX Runtime packs once beforehand."""
    try:
        import onnxruntime as ort
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["queries", "gallery"], ["similarity"]),
            helper.make_node("TopK", ["similarity", "k"], ["values", "indices"]),
        ],
        "topk",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, [None, gallery.shape[1]])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("indices", TensorProto.INT64, None),
        ],
        [
            numpy_helper.from_array(np.array([K]), "k"),
            numpy_helper.from_array(np.ascontiguousarray(gallery.T), "gallery"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options)
    return lambda queries: session.run(["indices"], {"queries": queries})[0]


def numpy_side(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    similarity = queries @ gallery.T
    best = np.argpartition(similarity, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(similarity, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)


def topk_sides(
    queries: np.ndarray, gallery: np.ndarray, ort_run: Any, threads: int
) -> dict[str, Side]:
    sides: dict[str, Side] = {
        "crosscam": lambda: similarity_topk(queries, gallery, K, threads=threads).index,
        "numpy": lambda: numpy_side(queries, gallery),
    }
    if ort_run is not None:
        sides["onnxruntime"] = lambda: ort_run(queries)
    try:
        import faiss
    except ImportError:
        return sides
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)

    def search(blas_threshold: int) -> np.ndarray:
        faiss.cvar.distance_compute_blas_threshold = blas_threshold
        return index.search(queries, K)[1]

    # 20 is the library's default; 0 always takes the BLAS path, its best setting from Q = 8 on.
    sides["faiss"] = lambda: search(20)
    sides["faiss, threshold 0"] = lambda: search(0)
    return sides


def check_topk(sides: dict[str, Side], queries: np.ndarray, gallery: np.ndarray) -> None:
    """All sides must find rows whose exact similarities are those of the specification."""
    exact = queries[:16].astype(np.float64) @ gallery.T.astype(np.float64)
    wanted = -np.sort(-exact, axis=1)[:, :K]
    for name, side in sides.items():
        found = np.take_along_axis(exact, side()[:16], axis=1)
        if not np.allclose(found, wanted, atol=2e-6):
            raise SystemExit(f"{name} gives a wrong answer: {np.abs(found - wanted).max()}")


def bench_topk(args: argparse.Namespace) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for dim in (512,) if args.quick else (256, 512):
        features = rng.standard_normal((100_512, dim)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        for count in (10_000,) if args.quick else (10_000, 100_000):
            gallery = np.ascontiguousarray(features[512 : 512 + count])
            ort_run = onnxruntime_side(gallery, args.threads)
            for q in (1, 64) if args.quick else (1, 8, 64, 512):
                queries = features[:q].copy()
                sides = topk_sides(queries, gallery, ort_run, args.threads)
                check_topk(sides, queries, gallery)
                rounds = 5 if q * count > 10_000_000 else args.rounds
                case = {"op": "similarity_topk", "Q": q, "G": count, "D": dim, "k": K}
                rows.append(report(case, timed(sides, rounds)))
    return rows


def bench_masks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Cost of masks that forbid little, so that the work to be done stays (nearly) the same."""
    rng = np.random.default_rng(1)
    q, count, dim = 64, 10_000 if args.quick else 100_000, 512
    features = rng.standard_normal((count + q, dim)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    queries, gallery = features[:q].copy(), features[q:]
    cameras = {
        "query_camera": rng.integers(0, 100, q).astype(np.int32),
        "gallery_camera": rng.integers(0, 100, count).astype(np.int32),
    }
    day = 86_400 * 10**9
    masks: dict[str, dict[str, Any]] = {
        "valid": {"valid": rng.random(count) < 0.999},
        "exclude_same": {**cameras, "camera_rule": "exclude_same"},
        "adjacency": {**cameras, "adjacency": rng.random((100, 100)) < 0.99},
        "window": {
            "query_time": rng.integers(0, day, q),
            "gallery_time": rng.integers(0, day, count),
            "window": (-day, day),
        },
    }
    masks["all"] = {key: value for group in masks.values() for key, value in group.items()}
    rows = []
    for name, mask in masks.items():
        sides: dict[str, Side] = {
            "crosscam": lambda: similarity_topk(queries, gallery, K, threads=args.threads),
            "masked": lambda mask=mask: similarity_topk(
                queries, gallery, K, threads=args.threads, **mask
            ),
        }
        case = {"op": "similarity_topk", "mask": name, "Q": q, "G": count, "D": dim}
        rows.append(report(case, timed(sides, args.rounds)))
    return rows


# ------------------------------------------------------------------------------------------------
# crop_resize_normalize


def opencv_loop(image: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The usual loop. Its filter is not antialiased, so it does less work than the others."""
    out = np.empty((len(boxes), 3, *size), np.float32)
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        crop = cv2.resize(image[y0:y1, x0:x1], size[::-1], interpolation=cv2.INTER_LINEAR)
        rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
        out[n] = ((rgb - MEAN) / STD).transpose(2, 0, 1)
    return out


def pillow_loop(image: Image.Image, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    out = np.empty((len(boxes), 3, *size), np.float32)
    for n, box in enumerate(boxes):
        crop = image.crop(tuple(box)).resize(size[::-1], Image.Resampling.BILINEAR)
        out[n] = ((np.asarray(crop, np.float32) / 255.0 - MEAN) / STD).transpose(2, 0, 1)
    return out


def bench_crops(args: argparse.Namespace) -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (135, 240, 3), dtype=np.uint8)
    image = cv2.resize(noise, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    as_pillow = Image.fromarray(image[..., ::-1])
    cv2.setNumThreads(args.threads)
    people = []
    for _ in range(64):
        width = rng.integers(24, 160)
        x, y = rng.integers(0, 1920 - width), rng.integers(0, 1080 - 2.5 * 24)
        people.append([x, y, x + width, min(y + int(2.5 * width), 1080)])
    cases = {
        "64 people": (np.array(people), (256, 128)),
        "8 people": (np.array(people[:8]), (256, 128)),
        "whole 1080p frame": (np.array([[0, 0, 1920, 1080]]), (360, 640)),
    }
    rows = []
    for name, (boxes, size) in cases.items():

        def ours(boxes: np.ndarray = boxes, size: tuple[int, int] = size) -> np.ndarray:
            return crop_resize_normalize(
                image, boxes, size=size, scale=1 / 255, mean=MEAN, std=STD, threads=args.threads
            )

        sides: dict[str, Side] = {
            "crosscam": ours,
            "opencv": lambda boxes=boxes, size=size: opencv_loop(image, boxes, size),
            "pillow": lambda boxes=boxes, size=size: pillow_loop(as_pillow, boxes, size),
        }
        error = np.abs((ours() - sides["pillow"]()) * STD.reshape(3, 1, 1) * 255).max()
        if error > 1.01:
            raise SystemExit(f"crops differ from Pillow by {error} of 255")
        case = {"op": "crop_resize_normalize", "boxes": name, "size": f"{size[0]}x{size[1]}"}
        rows.append({**report(case, timed(sides, args.rounds)), "max_error_of_255": float(error)})
    return rows


# ------------------------------------------------------------------------------------------------


def environment(threads: int) -> dict[str, Any]:
    packages = ("crosscam", "numpy", "onnxruntime", "faiss-cpu", "opencv-python-headless", "pillow")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((s.split(":", 1)[1].strip() for s in lines if "model name" in s), model)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "processors": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "threads": threads,
        "simd": simd_level(),
        "python": platform.python_version(),
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    env = environment(args.threads)
    rows = bench_topk(args) + bench_masks(args) + bench_crops(args)
    env["load_average_after"] = os.getloadavg()[0]  # above `threads`: others were at work
    if args.output:
        result = {"environment": env, "rows": rows}
        args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
