"""Frames per second of `crosscam process` against BoxMOT, same weights, same run.

BoxMOT (AGPL-3.0) is never imported: it runs as its own command in an environment of its own::

    python -m venv rival && rival/bin/pip install boxmot ultralytics onnxruntime==1.24.3
    python benchmarks/pipeline_boxmot.py --boxmot rival/bin/boxmot

Both sides read the video, detect with YOLOv8n (int8 ONNX), embed with OSNet x0.25, track with
appearance and write MOT text; no video is drawn. crosscam also associates and writes its Parquet
and JSON files. Whole processes are timed, start-up included, the sides in turn, each after one run
that compiles its modules; CPU seconds are noted too, since other programs on the machine disturb
them far less. Before any time is reported, both results are scored against ground truth where there
is one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
from bytecode import compiled_env

from crosscam_edge.evaluate import evaluate_mot
from crosscam_edge.sinks.mot import read_mot

DETECTOR, EMBEDDER = "yolov8n_int8.onnx", "osnet_x0_25_msmt17.onnx"


def _seconds(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Run a command to its end and return its wall and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return wall, cpu


def _crosscam(video: Path, out: Path) -> list[str]:
    return [
        *(str(Path(sys.executable).parent / "crosscam"), "process", str(video), "-o", str(out)),
        *("--detector", "yolov8n_int8", "--embedder", "osnet_x0_25_msmt17"),
        *("--no-video", "--no-report", "--no-crops", "--overwrite"),
    ]


def _boxmot(program: Path, models: Path, video: Path, out: Path) -> list[str]:
    return [
        *(str(program), "track", "--source", str(video), "--tracker", "botsort"),
        *("--detector", str(models / DETECTOR), "--reid", str(models / EMBEDDER)),
        *("--classes", "0", "--device", "cpu", "--save-txt", "--project", str(out)),
    ]


def _frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def _scores(truth: Path | None, mot: Path) -> dict[str, float]:
    if truth is None:
        return {}
    scores = evaluate_mot(read_mot(truth), read_mot(mot))
    return {"MOTA": scores.clear.mota, "IDF1": scores.identity.idf1, "HOTA": scores.hota.hota}


def run(boxmot: Path, assets: Path, repeats: int) -> dict[str, Any]:
    """Time both sides on each video and return everything that was measured."""
    models = assets / "models"
    truths = {"vtest.avi": assets / "groundtruth" / "vtest_mot15.txt"}
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        env = compiled_env(Path(scratch) / "bytecode") | {
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "CROSSCAM_MODELS": str(models),
        }
        short, out = assets / "videos" / "people-detection.264", Path(scratch) / "untimed"
        _seconds(_crosscam(short, out / "crosscam"), env)
        _seconds(_boxmot(boxmot, models, short, out / "boxmot"), env)
        for name in ("vtest.avi", "people-detection.264"):
            video, frames = assets / "videos" / name, _frames(assets / "videos" / name)
            ours, theirs, row = [], [], {"frames": frames}
            for index in range(repeats):
                out = Path(scratch) / f"{name}-{index}"
                ours.append(_seconds(_crosscam(video, out / "crosscam"), env))
                theirs.append(_seconds(_boxmot(boxmot, models, video, out / "boxmot"), env))
                if index == 0:
                    truth = truths.get(name)
                    mot = next((out / "crosscam" / "mot").glob("*.txt"))
                    row["crosscam_scores"] = _scores(truth, mot)
                    row["boxmot_scores"] = _scores(truth, next((out / "boxmot").rglob("*.txt")))
                    figures = json.loads((out / "crosscam" / "run.json").read_text())["figures"]
                    row["crosscam_stage_seconds"] = figures["stage_seconds"]
                shutil.rmtree(out)
            pairs = list(zip(ours, theirs, strict=True))
            for side, times in (("crosscam", ours), ("boxmot", theirs)):
                row[f"{side}_seconds"] = [wall for wall, _ in times]
                row[f"{side}_cpu_seconds"] = [cpu for _, cpu in times]
                row[f"{side}_fps"] = frames / statistics.median(wall for wall, _ in times)
            row["ratio"] = statistics.median(b[0] / a[0] for a, b in pairs)
            row["cpu_ratio"] = statistics.median(b[1] / a[1] for a, b in pairs)
            results[name] = row
            print(
                f"{name}: crosscam {row['crosscam_fps']:.1f} fps {row['crosscam_scores']}, "
                f"BoxMOT {row['boxmot_fps']:.1f} fps {row['boxmot_scores']}, "
                f"ratio {row['ratio']:.2f}, of CPU seconds {row['cpu_ratio']:.2f}",
                flush=True,
            )
    return results


def main() -> None:
    """Parse the command line, run, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxmot", type=Path, help="the boxmot command of its own environment")
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.assets is None:
        parser.error(
            "--assets or CROSSCAM_ASSETS must name a folder with models/, videos/ and groundtruth/"
        )
    boxmot = args.boxmot or shutil.which("boxmot")
    if boxmot is None:
        print("BoxMOT is not installed (see the head of this file); nothing to compare with")
        return
    load = os.getloadavg()[0]
    results = run(Path(boxmot), Path(args.assets), args.repeats)
    environment = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": load,
        "python": platform.python_version(),
        "boxmot": subprocess.run(
            [str(boxmot), "--version"], capture_output=True, text=True
        ).stdout.strip(),
    }
    if args.output:
        args.output.write_text(
            json.dumps({"environment": environment, "results": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
