"""Carrying out a plan: make each graph, verify all ways of running them, keep the best."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_deploy.building.choice import choose, choose_untimed
from crosscam_deploy.building.engines import EnginesFor
from crosscam_deploy.building.graphs import make_graphs
from crosscam_deploy.building.keep import keep_timed, keep_untimed
from crosscam_deploy.engines.beside import store_beside
from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.verify import Candidate, verify
from crosscam_deploy.verify.engine_rows import with_engines
from crosscam_deploy.verify.settings import plain, reference_for
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.building.graphs import Graph
    from crosscam_deploy.building.plan import Plan
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.verify import Gates, Report, Row, VerifyData
    from crosscam_deploy.verify.run import Progress

# Engines are built by the processes that are waited for: minutes each on a small box.
_LIMIT_S = {False: 600.0, True: 7200.0}


@dataclass(frozen=True, slots=True)
class Built:
    """What came out.

    Attributes:
        bundle: The chosen model.
        row: What was measured of it.
        report: What was measured of all, with the engines that were built and not run.
        notes: How graphs were made.
        others: Further models, of other precisions, where nothing could be timed that would choose.
    """

    bundle: Bundle
    row: Row
    report: Report
    notes: tuple[str, ...]
    others: tuple[Bundle, ...] = ()


def build(
    plan: Plan,
    data: VerifyData,
    calibrate_with: Sequence[Path],
    out: Path,
    *,
    gates: Gates | None = None,
    batches: Sequence[int] = (1, 8),
    rounds: int = 5,
    seconds: float = 0.3,
    progress: Progress | None = None,
) -> Built:
    """Build a model for a target.

    Args:
        plan: What to build.
        data: What to judge on.
        calibrate_with: Picture files that int8 ranges follow from; none of `data`.
        out: Folder of the bundle; must not exist, nor ``<out>-<precision>`` for a GPU that is not
            here.
        gates: What a build must reach.
        batches: Batch sizes to time; the largest decides.
        rounds: Turns of each candidate.
        seconds: Least length of a turn.
        progress: Hears what is being done, and how many steps of how many.

    Returns:
        The fastest that may be used. Where the target's engines do not run here, answers of the
        graphs are compared on the processor, and every precision that may be used is kept, with
        the engines that can be built here.

    Raises:
        InputError: `out` exists, or the model or the pictures cannot be used.
        UsageError: There is something to time, in no round.
        RunError: The plan cannot be carried out here, or nothing that was built may be used.
    """
    plan.check()
    if plan.timed and rounds < 1:
        raise UsageError(f"rounds={rounds}", expected="1 or more: the fastest is chosen")
    _check_free(plan, out)
    both = {path.resolve() for path in data.files()} & {p.resolve() for p in calibrate_with}
    if both:
        raise InputError(
            f"{len(both)} pictures are to be judged on and calibrated with, such as {min(both)}",
            expected="others: a build is never judged on what it was made from",
            fix="give --calibration another folder",
        )
    if plan.bundle.manifest.format == "onnx":
        check_safe(plan.bundle.model_path)  # before anything is made of it
    tell = progress or _silence
    gpu = plan.target.is_gpu
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        graphs = make_graphs(plan, calibrate_with, Path(folder), tell)
        notes = tuple(graph.note for graph in graphs if graph.note)
        reference = reference_for(plan.bundle)
        compared = [g for g in graphs if plan.timed or g.step.precision != "f32"]
        report = verify(
            reference,
            [each for graph in compared for each in _candidates(graph) if each != reference],
            data,
            batches=batches,
            gates=gates,
            baseline=None if gpu else plain(plan.bundle),
            rounds=rounds if plan.timed else 0,
            seconds=seconds,
            limit_s=_LIMIT_S[gpu and plan.timed],
            progress=tell,
        )
        report = _of_real_graphs(report, graphs)
        if plan.timed:
            row = choose(report)
            bundles = {graph.bundle.path: graph.bundle for graph in graphs}
            bundles[plan.bundle.path] = plan.bundle
            kept = keep_timed(bundles[row.candidate.bundle], row, plan, out)
            return Built(kept, row, report, notes)
        chosen = choose_untimed(report, graphs)
        engines = EnginesFor(plan, Path(folder), tell)
        finished = [
            keep_untimed(graph, engines.build(graph.bundle), plan, _place(out, graph, chosen))
            for graph, _ in chosen
        ]
        report = report.model_copy(update={"rows": (*report.rows, *engines.failed)})
        report = with_engines(report, finished)
        return Built(finished[0], chosen[0][1], report, notes, tuple(finished[1:]))


def _of_real_graphs(report: Report, graphs: Sequence[Graph]) -> Report:
    """Return a report whose rows are of the graphs that are kept, not of their emulations."""
    real = {graph.compared.path: graph.bundle for graph in graphs if graph.step.emulated}
    rows = []
    for row in report.rows:
        bundle = real.get(row.candidate.bundle)
        if bundle is not None and row.role == "candidate":
            size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files)
            candidate = row.candidate.model_copy(update={"bundle": bundle.path})
            changes = {"candidate": candidate, "model_id": bundle.model_id, "file_bytes": size}
            row = row.model_copy(update=changes | {"emulated": True})
        rows.append(row)
    return report.model_copy(update={"rows": tuple(rows)})


def _place(out: Path, graph: Graph, chosen: Sequence[tuple[Graph, Row]]) -> Path:
    """Return where a graph's bundle goes: the first one's is what was asked for."""
    return out if graph is chosen[0][0] else _beside(out, graph.step.precision)


def _beside(out: Path, precision: str) -> Path:
    return out.with_name(f"{out.name}-{precision}")


def _check_free(plan: Plan, out: Path) -> None:
    places = [out]
    if plan.target.is_gpu:
        places.append(store_beside(out).root)
    if not plan.timed:
        others = [_beside(out, step.precision) for step in plan.steps]
        places += [*others, *(store_beside(each).root for each in others)]
    for place in places:
        if place.exists():
            raise InputError(f"{place} exists already", fix="choose another -o, or delete it")


def _silence(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def _candidates(graph: Graph) -> list[Candidate]:
    return [
        Candidate(bundle=graph.compared.path, runtime=engine, precision=precision)
        for engine, precision in graph.step.ways
    ]
