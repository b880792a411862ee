"""The page of the compared methods: its tables, and two small pictures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Runs = list[dict[str, Any]]
Rows = dict[str, Runs]
LABELS = {"none": "none", "intra": "of each camera", "global": "people"}
UNTRAINED = ("random weights", "first weights")
DRAWN = {"ccafl without ICAL": ":", "ccafl": "-", "ccafl+ccaf": "--"}
"""Methods whose association is shown, with the styles of their lines."""


def by(runs: Iterable[dict[str, Any]], key: str) -> Rows:
    found: Rows = {}
    for run in runs:
        found.setdefault(run[key], []).append(run)
    return found


def spread(values: Iterable[float], scale: float = 100.0) -> str:
    """Mean ± sample standard deviation."""
    kept = [scale * v for v in values if not math.isnan(v)]
    if not kept:
        return "-"
    mean = statistics.fmean(kept)
    return f"{mean:.1f} ± {statistics.stdev(kept):.1f}" if len(kept) > 1 else f"{mean:.1f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def retrieval(runs: Runs) -> str:
    figures = {"mAP": "mAP", "R1": "R1"}
    changing = "clothes-changing/mAP"
    if any(changing in run["figures"] for run in runs):
        figures |= {changing: "mAP, other clothes", "clothes-changing/R1": "R1, other clothes"}
    lines = [
        [
            name,
            LABELS["none" if name in UNTRAINED else found[0]["labels"]],
            *(spread(run["figures"][f] for run in found) for f in figures),
        ]
        for name, found in by(runs, "method").items()
    ]
    return table(["method", "labels", *figures.values()], lines)


def probes(runs: Runs) -> str:
    """Accuracy of probes, when the first adversarial step is near and at the end."""
    kinds = [k for k in ("camera", "clothes") if f"{k} probe" in runs[0]["figures"]]
    lines = []
    for name, found in by(runs, "method").items():
        cells = []
        for kind in kinds:
            before = [r["judged"][0]["figures"] if "judged" in r else r["figures"] for r in found]
            cells.append(spread(f[f"{kind} probe"] for f in before))
            cells.append(spread(r["figures"][f"{kind} probe"] for r in found))
        lines.append([name, *cells])
    chance = [f"{100 * runs[0]['figures'][f'{k} chance']:.1f}" for k in kinds for _ in range(2)]
    lines.append(["chance", *chance])
    return table(["method", *(f"{k}, {at}" for k in kinds for at in ("before", "end"))], lines)


def curves_of(runs: Runs) -> dict[str, list[list[dict[str, float]]]]:
    """Figures of epochs, of the runs that associate."""
    return {
        name: [run["epochs"] for run in found]
        for name, found in by(runs, "method").items()
        if "labels_paired" in found[0].get("epochs", [{}])[0]
    }


def association(runs: Runs) -> str:
    lines = []
    names = ("pair_precision", "pair_recall", "labels_paired")
    for name, curves in curves_of(runs).items():
        if name not in DRAWN:
            continue
        last = len(curves[0]) - 1
        for epoch in sorted({0, last // 4, last // 2, last}):
            figures = [spread(c[epoch].get(f, math.nan) for c in curves) for f in names]
            conflicts = spread((c[epoch]["identities_with_conflict"] for c in curves), 1)
            lines.append([name, str(epoch + 1), *figures, conflicts])
    head = ["method", "epoch", "precision of pairs", "recall of pairs", "labels paired"]
    return table([*head, "identities with conflict"], lines)


def draw_association(sets: Rows, path: Path) -> None:
    """Draw precision and recall of pairs over the epochs."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharex=True, sharey=True)
    for number, (which, runs) in enumerate(sets.items()):
        for name, curves in curves_of(runs).items():
            if name not in DRAWN:
                continue
            for axis, what in zip(axes, ("pair_precision", "pair_recall"), strict=True):
                epochs = range(len(curves[0]))
                mean = [statistics.fmean(c[e].get(what, math.nan) for c in curves) for e in epochs]
                style = {"color": f"C{number}", "ls": DRAWN[name]}
                axis.plot([e + 1 for e in epochs], mean, label=f"{name}: {which}", **style)
                axis.set_title(what.replace("_", " "), fontsize=9)
                axis.set_xlabel("epoch", fontsize=8)
    _save(figure, axes, path)


def draw_probes(sets: Rows, path: Path) -> None:
    """Draw probes of cameras (first set) and clothes (second set) before and after."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.0))
    for axis, (which, runs), kind in zip(axes, sets.items(), ("camera", "clothes"), strict=True):
        shown = {n: r for n, r in by(runs, "method").items() if n not in UNTRAINED}
        for at, offset in ((0, -0.2), (-1, 0.2)):
            values = [
                statistics.fmean(run["judged"][at]["figures"][f"{kind} probe"] for run in found)
                for found in shown.values()
            ]
            places = [k + offset for k in range(len(shown))]
            axis.barh(places, values, 0.38, label="end" if at else "before")
        chance = runs[0]["figures"][f"{kind} chance"]
        axis.set_yticks(range(len(shown)), list(shown), fontsize=7)
        axis.axvline(chance, color="black", lw=1, ls=":")
        axis.set_xlim(0.9 * chance, 1)
        axis.set_title(f"{kind} probe ({which})", fontsize=8)
        axis.invert_yaxis()
    _save(figure, axes, path)


def _save(figure: Any, axes: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    for axis in axes:
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def write_page(runs: Runs, page: Path, *, pictures: bool = True) -> None:
    """Write tables between the marks of a page, ``<!-- TABLE: SET -->``, and pictures beside it."""
    sets = by(runs, "set")
    parts: dict[str, Callable[[Runs], str]] = {
        "retrieval": retrieval,
        "association": association,
        "probes": probes,
    }
    text = page.read_text() if page.exists() else "# Methods compared\n"
    for which, found in sets.items():
        for name, make in parts.items():
            begin, end = f"<!-- {name}: {which} -->", f"<!-- end of {name}: {which} -->"
            if begin not in text:
                text += f"\n{begin}\n{end}\n"
            head, rest = text.split(begin)
            text = f"{head}{begin}\n{make(found)}\n{end}{rest.split(end)[1]}"
    page.write_text(text)
    if not pictures:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    images = page.parent.parent / "images"
    draw_association(sets, images / "methods-association.png")
    first_two = dict(list(sets.items())[:2])
    if len(first_two) == 2:
        draw_probes(first_two, images / "methods-probes.png")
