"""The results of the kernel benchmarks as one Markdown page.

python benchmarks/kernels_table.py PAGE

Reads `benchmarks/results/kernels_*.json` and writes the page; nothing is measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
NO_CASE = {"times", "ratios", "recall", "best_rival", "speedup_over_best_rival", "max_error_of_255"}
HEAD = """# Speed of the kernels

Written by `make bench`. Every answer is checked before it is timed, the sides of a comparison take
turns, and figures are medians. A ratio is the time of a rival over that of crosscam: above 1,
crosscam is faster. What falls short of its target is on the page of each operator.
"""


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"kernels_{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def environment(env: dict[str, Any]) -> str:
    versions = ", ".join(f"{n} {v}" for n, v in env["versions"].items() if v != "not installed")
    return (
        f"{env['cpu']}, {env['threads']} threads, {env['simd']}; {env['date'][:10]}; load before "
        f"{env['load_average_before']:.1f}. {versions}."
    )


def label(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in row.items() if k not in NO_CASE and k != "op")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]) + "\n"


def compared(rows: list[dict[str, Any]]) -> str:
    """One line a case: our time, then each rival's with its ratio."""
    cells = []
    for row in rows:
        times = row["times"]
        best = times["crosscam"]["median_ms"]
        rivals = [
            f"{name} {t['median_ms']:.3g} ({t['median_ms'] / best:.2g}x)"
            for name, t in times.items()
            if name != "crosscam"
        ]
        memory = [f"{name} {t['peak_mib']:.0f}" for name, t in times.items() if "peak_mib" in t]
        cells.append([row["op"], label(row), f"{best:.3g}", ", ".join(rivals), ", ".join(memory)])
    return table(["operator", "case", "crosscam, ms", "others, ms", "peak memory, MiB"], cells)


def searches(rows: list[dict[str, Any]]) -> str:
    """Searches: our four galleries beside the fastest of the rivals."""
    ours = ["crosscam", "crosscam bf16", "crosscam fp16", "crosscam int8 + rescore"]
    cells = []
    for row in rows:
        speed, times = row["speedup_over_best_rival"], row["times"]
        own = [f"{times[n]['median_ms']:.3g} ({speed[n]:.2g}x)" if n in times else "" for n in ours]
        rival = row["best_rival"]
        others = sorted(
            (t["median_ms"], n) for n, t in times.items() if n not in ours and n != rival
        )
        cells.append(
            [
                label(row),
                *own,
                f"{rival} {times[rival]['median_ms']:.3g}",
                ", ".join(f"{n} {ms:.3g}" for ms, n in others),
            ]
        )
    head = ["case", "fp32", "bf16", "fp16", "int8 + rescore", "fastest rival", "the others"]
    return table(head, cells)


def evaluation(result: dict[str, Any]) -> str:
    cells = []
    for case in result["cases"]:
        size = f"{case['case']}, Q {case['Q']}, G {case['G']}, D {case['D']}"
        if case.get("load"):  # a case that was measured beside other work says so
            size += f" (load before {case['load']:.1f})"
        best = case["sides"]["crosscam"]["median_s"]
        for name, side in case["sides"].items():
            ratio = "" if name == "crosscam" else f" ({side['median_s'] / best:.2g}x)"
            cells.append([size, name, f"{side['median_s']:.3g}{ratio}", f"{side['peak_mb']:.0f}"])
            size = ""
    return table(["case", "side", "seconds", "memory over the inputs, MB"], cells)


def page() -> str:
    parts = [HEAD]
    cpu = read("cpu")
    if cpu is not None:
        rows = cpu["rows"]
        parts += [
            "## Search\n",
            environment(cpu["environment"]) + " Milliseconds, and how many times faster than the "
            "fastest rival; bf16 and fp16 galleries answer for their rounded rows.\n",
            searches([r for r in rows if "speedup_over_best_rival" in r]),
            "## Masks, galleries, crops\n",
            compared([r for r in rows if "ratios" in r]),
        ]
    for name, title in (("normalise", "Normalising and quantising"), ("train_cpu", "Losses")):
        found = read(name)
        if found is not None:
            parts += [f"## {title}\n", environment(found["environment"]) + "\n"]
            parts.append(compared(found["rows"]))
    found = read("eval_cpu")
    if found is not None:
        parts += ["## Metrics and re-ranking\n", evaluation(found)]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, help="Markdown file to write")
    parser.parse_args().page.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
