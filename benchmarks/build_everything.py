"""Every model, built for processors and GPUs in every precision, in one table.

Models are those on this machine (`crosscam models list`) and towers of the trainer, with random
weights where there are none: their accuracy says nothing, their likeness to float32 does. Each is
built by `crosscam build`, in a process of its own, for each target; every build is kept in `--work`
with its report, so the command goes on where it was stopped. One that fails is a line with the
reason; `--again` tries those once more.

Rows of TensorRT-RTX say what was built and how large it is: nothing of it runs without a GPU.

    python benchmarks/build_everything.py --work /tmp/everything --crops crops/ \
        --frames ../shared/assets/videos/vtest.avi \
        --truth ../shared/assets/groundtruth/vtest_mot15.txt
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.verify import DetectAccuracy, EmbedAccuracy, Report, Row
from crosscam_deploy.zoo import list_models, resolve

TARGETS = ("cpu", "rtx-40")
NONE = "\N{EN DASH}"
_COMMAND = "from crosscam_edge.cli import main; main()"
_QUANTISED = "is quantised already"


def export_tower(name: str, folder: Path) -> Bundle:
    """Return a tower's bundle, exported once."""
    if (folder / "manifest.json").is_file():
        return load_bundle(folder)
    import torch

    from crosscam_trainer.models.architectures import SUPPORTED
    from crosscam_trainer.models.build import bare_model
    from crosscam_trainer.models.export import export_bundle
    from crosscam_trainer.recipe import ModelRecipe

    torch.manual_seed(0)
    made = bare_model(ModelRecipe(tower=name, pooling=SUPPORTED[name]))
    found = export_bundle(
        made.model,
        made.preparation,
        folder,
        name=f"tower-{name.lower()}",
        licence="Apache-2.0",
        source="crosscam",
        training="random weights",
    )
    return found.bundle


def build(bundle: Bundle, target: str, out: Path, options: argparse.Namespace) -> None:
    """Build a model for a target, unless that was done; leaves a report or a reason."""
    report, reason = report_of(out), out.with_name(f"{out.name}.failed.txt")
    if report.is_file() or (reason.is_file() and not options.again):
        return
    pictures = ["--limit", str(options.limit)]
    if bundle.manifest.task == "embed":
        pictures += [f"--crops={each}" for each in options.crops]
    else:
        pictures += [f"--frames={each}" for each in options.frames]
        pictures += [f"--truth={each}" for each in options.truth]
    said = ""
    for extra in ([], ["--precision", "f32"]):  # what is quantised already is built as it is
        done = subprocess.run(
            [
                *(sys.executable, "-c", _COMMAND, "build", str(bundle.path)),
                *("--target", target, "-o", str(out), *extra),
                *("--rounds", str(options.rounds), *pictures),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            reason.unlink(missing_ok=True)
            return
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if _QUANTISED not in said:
            break
    reason.write_text(said + "\n", encoding="utf-8")


def report_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.verify.json")


def rows_of(bundle: Bundle, target: str, out: Path) -> Iterator[dict[str, Any]]:
    """Return the lines of one build."""
    first = {"model": bundle.manifest.name, "task": bundle.manifest.task, "target": target}
    file = report_of(out)
    if not file.is_file():
        reason = out.with_name(f"{out.name}.failed.txt")
        said = reason.read_text(encoding="utf-8").strip() if reason.is_file() else "not built yet"
        yield first | {"verdict": "failed", "reasons": [said]}
        return
    report = Report.model_validate_json(file.read_bytes())
    size = max(report.batches)
    for row in report.rows:
        yield first | line(row, size) | {"pictures": sum(report.data.sets.values())}


def line(row: Row, batch: int) -> dict[str, Any]:
    found, speed, engine = row.accuracy, row.at(batch), row.engine
    out: dict[str, Any] = {
        "graph": row.graph(),
        "runs in": row.how(),
        "verdict": row.role if row.role != "candidate" else row.status,
        "reasons": list(row.reasons),
        "file_bytes": row.file_bytes,
    }
    if isinstance(found, EmbedAccuracy):
        out |= {
            "cosine_mean": found.cosine_mean,
            "cosine_min": found.cosine_min,
            "mean_ap": found.mean_ap,
            "mean_ap_change": found.mean_ap_change,
        }
    elif isinstance(found, DetectAccuracy):
        out |= {
            "average_precision": found.average_precision,
            "average_precision_change": found.average_precision_change,
            "agreement": found.agreement,
        }
    if speed is not None:
        out |= {"batch": batch, "each_per_second": speed.each_per_second, "ratio": speed.ratio}
    if engine is not None:
        out |= {"engine_bytes": engine.plan_bytes, "computes_in": engine.computes_in()}
    return out


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table for each task."""
    parts = []
    for task in ("embed", "detect"):
        mine = [row for row in rows if row["task"] == task]
        if not mine:
            continue
        wanted = columns(task)
        lines = ["| " + " | ".join(wanted) + " |", "| " + " | ".join("---" for _ in wanted) + " |"]
        lines += ["| " + " | ".join(cell(row) for cell in wanted.values()) + " |" for row in mine]
        reasons = [
            f"* {row['model']}, {row['target']}, {row.get('graph', '')} {row.get('runs in', '')}: "
            f"{'; '.join(row['reasons'])}"
            for row in mine
            if row["reasons"]
        ]
        parts.append("\n".join([*lines, "", *reasons]))
    return "\n\n".join(parts) + "\n"


def columns(task: str) -> dict[str, Any]:
    def number(name: str, digits: int, factor: float = 1.0) -> Any:
        def cell(row: dict[str, Any]) -> str:
            value = row.get(name)
            return NONE if value is None else f"{factor * value:.{digits}f}"

        return cell

    def text(name: str) -> Any:
        return lambda row: str(row.get(name, NONE))

    accuracy = (
        {
            "cos mean": number("cosine_mean", 4),
            "cos min": number("cosine_min", 4),
            "mAP": number("mean_ap", 2, 100),
            "change": number("mean_ap_change", 2, 100),
        }
        if task == "embed"
        else {
            "AP50": number("average_precision", 2, 100),
            "change": number("average_precision_change", 2, 100),
            "in common": number("agreement", 1, 100),
        }
    )
    return {
        "model": text("model"),
        "target": text("target"),
        "graph": text("graph"),
        "runs in": text("runs in"),
        "verdict": text("verdict"),
        **accuracy,
        "a second": number("each_per_second", 0),
        "x": number("ratio", 2),
        "file, MB": number("file_bytes", 2, 1e-6),
        "engine, MB": number("engine_bytes", 2, 1e-6),
        "computes in": text("computes_in"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder that builds are kept in")
    parser.add_argument("--models", nargs="*", help="names or bundles; all on this machine if none")
    parser.add_argument("--towers", nargs="*", help="all if not given")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--crops", nargs="+", default=[], help="folders, for embedders")
    parser.add_argument("--frames", nargs="+", default=[], help="videos or folders, for detectors")
    parser.add_argument("--truth", nargs="*", default=[], help="boxes in the frames")
    parser.add_argument("--limit", type=int, default=400, help="most crops, or frames of a video")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="try what failed once more")
    parser.add_argument("--output", type=Path, help="the table as JSON; in --work if not given")
    parser.add_argument("--markdown", type=Path, help="the same, to read; in --work if not given")
    options = parser.parse_args()

    names = options.models
    if names is None:
        names = [status.name for status in list_models() if status.available]
    bundles = [resolve(name) for name in names]
    towers = options.towers
    if towers is None:
        from crosscam_trainer.models.architectures import SUPPORTED

        towers = list(SUPPORTED)
    bundles += [export_tower(name, options.work / "towers" / name) for name in towers]
    rows: list[dict[str, Any]] = []
    for bundle in bundles:
        for target in options.targets:
            out = options.work / "built" / f"{bundle.manifest.name}-{target}"
            out.parent.mkdir(parents=True, exist_ok=True)
            print(f"{bundle.manifest.name} for {target}", flush=True)
            build(bundle, target, out, options)
            rows += rows_of(bundle, target, out)
            # after every build: a run that is stopped leaves its table
            output = options.output or options.work / "table.json"
            output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            page = options.markdown or options.work / "table.md"
            page.write_text(markdown(rows), encoding="utf-8")
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()
