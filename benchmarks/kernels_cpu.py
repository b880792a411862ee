"""CPU operators of crosscam_kernels against what people use instead.

python benchmarks/kernels_cpu.py [--quick | --no-large] [--threads 2] [--output FILE]

Every rival's answer is checked before anything is timed. The sides of a comparison take turns. In
its turn a side first pauses, so that the idle threads of the one before (which spin for a while) do
not slow it, then runs once untimed to wake its own.
Rivals that are not installed are left out: `faiss-cpu`, `torch`, `usearch`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from PIL import Image
from topk_rivals import K, Search, rival_sides

from crosscam_kernels import (
    GalleryIndex,
    crop_resize_normalize,
    quantise_rows,
    simd_level,
    similarity_topk,
)
from crosscam_kernels.reference.crop import nv12_to_rgb

Side = Callable[[], Any]
Rows = Iterator[dict[str, Any]]  # one of the result each
PAUSE_S = 0.01  # longer than the spinning of OpenMP, ONNX Runtime and OpenCV workers
LONG_MS = 2000.0
LARGE_BYTES = 18e9  # what galleries of a million rows and the rivals' copies of them need
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def timed(sides: dict[str, Side], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each side over interleaved rounds; sides of over two seconds run once."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            if max(samples[name], default=0.0) > LONG_MS:
                continue
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


def to_bfloat16(rows: np.ndarray) -> np.ndarray:
    bits = rows.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def own_sides(gallery: np.ndarray, threads: int) -> dict[str, Search]:
    """The operator on each type of gallery."""
    bf16, fp16 = to_bfloat16(gallery), gallery.astype(np.float16)
    values, scale = quantise_rows(gallery)
    return {
        "crosscam": lambda q: similarity_topk(q, gallery, K, threads=threads).index,
        "crosscam bf16": lambda q: similarity_topk(q, bf16, K, threads=threads).index,
        "crosscam fp16": lambda q: similarity_topk(q, fp16, K, threads=threads).index,
        "crosscam int8 + rescore": lambda q: (
            similarity_topk(q, values, K, scale=scale, rescore=gallery, threads=threads).index
        ),
    }


def check_topk(
    sides: dict[str, Search], queries: np.ndarray, gallery: np.ndarray
) -> dict[str, float]:
    """Recall of each side against the float64 answer; sides that claim it must be exact."""
    some = queries[:16]
    exact = some.astype(np.float64) @ gallery.T.astype(np.float64)
    wanted = -np.sort(-exact, axis=1)[:, :K]
    recall = {}
    for name, side in sides.items():
        found = np.take_along_axis(exact, side(some), axis=1)
        recall[name] = float((found >= wanted[:, -1:] - 2e-6).mean())
        rounded = name in ("crosscam bf16", "crosscam fp16", "torch bf16 + fp32 re-rank")
        if not np.allclose(found, wanted, atol=2e-6) and not (rounded and recall[name] > 0.9):
            raise SystemExit(f"{name} gives a wrong answer: {np.abs(found - wanted).max()}")
    return recall


def topk_row(
    case: dict[str, Any], times: dict[str, dict[str, float]], recall: dict[str, float]
) -> dict[str, Any]:
    """Like `report`, for several sides of our own: each against the fastest rival."""
    ours = [name for name in times if name.startswith("crosscam")]
    rival = min((name for name in times if name not in ours), key=lambda n: times[n]["median_ms"])
    best = times[rival]["median_ms"]
    speedup = {name: best / times[name]["median_ms"] for name in ours}
    label = " ".join(f"{key}={value}" for key, value in case.items())
    own = "  ".join(f"{n} {times[n]['median_ms']:.2f} ({speedup[n]:.2f}x)" for n in ours)
    print(f"{label}: {own}  |  best rival {rival} {best:.2f} ms", flush=True)
    return {
        **case,
        "times": times,
        "recall": recall,
        "best_rival": rival,
        "speedup_over_best_rival": speedup,
    }


def bench_topk(args: argparse.Namespace) -> Rows:
    rng = np.random.default_rng(0)
    counts = (
        (10_000,)
        if args.quick
        else (10_000, 100_000, 1_000_000)
        if args.large
        else (10_000, 100_000)
    )
    for dim in (512,) if args.quick else (256, 512):
        features = rng.standard_normal((counts[-1] + 512, dim), np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        for count in counts:
            gallery = np.ascontiguousarray(features[512 : 512 + count])
            searches = {**own_sides(gallery, args.threads), **rival_sides(gallery, args.threads)}
            for q in (1, 64) if args.quick else (1, 8, 64, 512):
                queries = features[:q].copy()
                recall = check_topk(searches, queries, gallery)
                sides: dict[str, Side] = {
                    name: functools.partial(search, queries) for name, search in searches.items()
                }
                rounds = 5 if q * count > 10_000_000 else args.rounds
                case = {"op": "similarity_topk", "Q": q, "G": count, "D": dim, "k": K}
                yield topk_row(case, timed(sides, rounds), recall)


def bench_gallery(args: argparse.Namespace) -> Rows:
    """Upkeep of a full gallery per frame: 8 rows come, their elders go, one owner is removed."""
    rng = np.random.default_rng(3)
    count, dim = 10_000 if args.quick else 100_000, 512
    features = rng.standard_normal((count, dim), np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    for dtype in ("float32", "int8"):
        gallery = GalleryIndex(dim, capacity=count, dtype=dtype)
        gallery.append(features, owner=rng.integers(0, count // 10, count))
        frames, start = 2000, time.perf_counter()
        for frame in range(frames):
            gallery.append(features[frame % 100 * 8 :][:8], owner=count + frame)
        append = (time.perf_counter() - start) / frames * 1e3
        start = time.perf_counter()
        for owner in range(200):
            gallery.remove_owner(owner)
        remove = (time.perf_counter() - start) / 200 * 1e3
        case = {"op": "GalleryIndex", "dtype": dtype, "G": count, "D": dim}
        print(f"{case}: append of 8 {append:.3f} ms, remove_owner {remove:.3f} ms", flush=True)
        yield {**case, "append_8_ms": append, "remove_owner_ms": remove}


def bench_masks(args: argparse.Namespace) -> Rows:
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
    for name, mask in masks.items():
        sides: dict[str, Side] = {
            "crosscam": lambda: similarity_topk(queries, gallery, K, threads=args.threads),
            "masked": lambda mask=mask: similarity_topk(
                queries, gallery, K, threads=args.threads, **mask
            ),
        }
        case = {"op": "similarity_topk", "mask": name, "Q": q, "G": count, "D": dim}
        yield report(case, timed(sides, args.rounds))


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


def torchvision_side(
    image: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threads: int
) -> Side | None:
    """The antialiased loop of training code; None where torchvision is not installed."""
    try:
        import torch
        from torchvision.transforms.v2 import functional
    except ImportError:
        return None
    torch.set_num_threads(threads)
    bgr = torch.from_numpy(image)

    def run() -> np.ndarray:
        picture = bgr.permute(2, 0, 1).flip(0)
        out = torch.empty((len(boxes), 3, *size))
        for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            crop = functional.resize(picture[:, y0:y1, x0:x1], list(size), antialias=True)
            out[n] = functional.normalize(crop.float() / 255, MEAN.tolist(), STD.tolist())
        return out.numpy()

    return run


def bench_nv12(
    bgr: np.ndarray, name: str, boxes: np.ndarray, size: tuple[int, int], args: argparse.Namespace
) -> dict[str, Any]:
    """Crops straight from NV12 against cv2.cvtColor of the frame and the loop over crops."""
    height, width = bgr.shape[:2]
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    chroma = planar[height:].reshape(2, -1).T.reshape(height // 2, width)
    frame = np.concatenate([planar[:height], chroma])
    rgb = nv12_to_rgb(
        frame[:height], chroma.reshape(height // 2, width // 2, 2), "bt601", "limited"
    )
    as_pillow = Image.fromarray(rgb)

    def ours() -> np.ndarray:
        return crop_resize_normalize(
            frame,
            boxes,
            size=size,
            color_in="nv12",
            scale=1 / 255,
            mean=MEAN,
            std=STD,
            threads=args.threads,
        )

    sides: dict[str, Side] = {
        "crosscam": ours,
        "opencv": lambda: opencv_loop(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12), boxes, size),
    }
    error = np.abs((ours() - pillow_loop(as_pillow, boxes, size)) * STD.reshape(3, 1, 1) * 255)
    if error.max() > 1.01:
        raise SystemExit(f"crops of NV12 differ from Pillow by {error.max()} of 255")
    case = {"op": "crop_resize_normalize, NV12", "boxes": name, "size": f"{size[0]}x{size[1]}"}
    return {**report(case, timed(sides, args.rounds)), "max_error_of_255": float(error.max())}


def bench_crops(args: argparse.Namespace) -> Rows:
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
        rival = torchvision_side(image, boxes, size, args.threads)
        if rival is not None:
            sides["torchvision"] = rival
            apart = np.abs((rival() - ours()) * STD.reshape(3, 1, 1) * 255).max()
            if apart > 2.01:  # torchvision rounds to 8 bits after each axis
                raise SystemExit(f"torchvision's crops differ by {apart} of 255")
        error = np.abs((ours() - sides["pillow"]()) * STD.reshape(3, 1, 1) * 255).max()
        if error > 1.01:
            raise SystemExit(f"crops differ from Pillow by {error} of 255")
        case = {"op": "crop_resize_normalize", "boxes": name, "size": f"{size[0]}x{size[1]}"}
        yield {**report(case, timed(sides, args.rounds)), "max_error_of_255": float(error)}
        yield bench_nv12(image, name, boxes, size, args)


# ------------------------------------------------------------------------------------------------


def environment(threads: int) -> dict[str, Any]:
    packages = (
        *("crosscam", "numpy", "onnxruntime", "faiss-cpu", "torch", "usearch"),
        *("opencv-python-headless", "pillow"),
    )
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
    parser.add_argument(
        "--large",
        action=argparse.BooleanOptionalAction,
        default=psutil.virtual_memory().available > LARGE_BYTES,
        help="also a million rows; by default where 18 GB of memory are free",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    env = environment(args.threads)
    rows: list[dict[str, Any]] = []
    for family in (bench_topk, bench_masks, bench_gallery, bench_crops):
        for row in family(args):
            rows.append(row)
            env["load_average_after"] = os.getloadavg()[0]  # above `threads`: others were at work
            if args.output:
                result = {"environment": env, "rows": rows}
                args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
