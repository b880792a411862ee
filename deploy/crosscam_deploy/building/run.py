"""Carrying out a plan: build each graph, verify all ways of running them, keep the best."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscam_deploy.bundle import Bundle, write_bundle
from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import RunWith, compute_model_id
from crosscam_deploy.precision import calibration
from crosscam_deploy.precision.half import store_half
from crosscam_deploy.precision.search import search
from crosscam_deploy.verify import Candidate, verify
from crosscam_deploy.verify.settings import plain, reference_for
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.building.plan import Plan, Step
    from crosscam_deploy.manifest import GraphPrecision
    from crosscam_deploy.verify import Gates, Report, Row, VerifyData
    from crosscam_deploy.verify.run import Progress

# Of two that are as fast within what a measurement tells, the one that is nearer to the original.
_AS_FAST = 0.97
_GRAPH_ORDER = ("f32", "f16", "bf16", "mixed", "fp8", "int8")


@dataclass(frozen=True, slots=True)
class Built:
    """What came out.

    Attributes:
        bundle: The chosen model.
        row: What was measured of it.
        report: What was measured of all.
        notes: How graphs were made.
    """

    bundle: Bundle
    row: Row
    report: Report
    notes: tuple[str, ...]


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
        out: Folder of the bundle; must not exist.
        gates: What a build must reach.
        batches: Batch sizes to time; the largest decides.
        rounds: Turns of each candidate.
        seconds: Least length of a turn.
        progress: Hears what is being done, and how many steps of how many.

    Returns:
        The fastest that may be used.

    Raises:
        InputError: `out` exists, or the model or the pictures cannot be used.
        RunError: The plan cannot be carried out here, or nothing that was built may be used.
    """
    plan.check()
    if out.exists():
        raise InputError(f"{out} exists already", fix="choose another -o, or delete it")
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
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        made: list[tuple[Step, Bundle]] = []
        notes: list[str] = []
        for step in plan.steps:
            for bundle, note in _graphs(plan.bundle, step, calibrate_with, Path(folder), tell):
                made.append((step, bundle))
                notes += [note] if note else []
        reference = reference_for(plan.bundle)
        candidates = [
            each for step, bundle in made for each in _candidates(bundle, step) if each != reference
        ]
        report = verify(
            reference,
            candidates,
            data,
            batches=batches,
            gates=gates,
            baseline=plain(plan.bundle),
            rounds=rounds,
            seconds=seconds,
            progress=tell,
        )
        row = choose(report)
        bundles = {bundle.path: bundle for _, bundle in made} | {plan.bundle.path: plan.bundle}
        chosen = _keep(bundles[row.candidate.bundle], row, out)
    return Built(chosen, row, report, tuple(notes))


def choose(report: Report) -> Row:
    """Return the fastest row that may be used, at the largest batch size.

    Of rows within 3 % of it, the one whose numbers are nearest to the original's.

    Raises:
        RunError: None may be used.
    """
    best = report.fastest()
    if best is None:
        reasons = "; ".join(
            f"{row.candidate.how()}: {', '.join(row.reasons)}" for row in report.rows
        )
        raise RunError(
            f"nothing that was built may be used ({reasons})", fix="loosen a gate with --gate"
        )
    size = max(report.batches)
    rows = [row for row in report.rows if row.status == "passed" and row.role != "baseline"]
    top = best.at(size)
    assert top is not None
    close = [
        row
        for row in rows
        if (speed := row.at(size)) and speed.each_per_second >= _AS_FAST * top.each_per_second
    ]
    return min(
        close,
        key=lambda row: (_GRAPH_ORDER.index(row.graph_precision), row.candidate.precision != "f32"),
    )


def _silence(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def _candidates(bundle: Bundle, step: Step) -> list[Candidate]:
    return [
        Candidate(bundle=bundle.path, runtime=engine, precision=precision)
        for engine, precision in step.ways
    ]


def _graphs(
    source: Bundle, step: Step, files: Sequence[Path], folder: Path, tell: Progress
) -> list[tuple[Bundle, str]]:
    """Make a step's graphs; returns the bundle of each and how it was made."""
    if step.precision == "f32":
        return [(source, "")]
    if step.precision == "f16":
        import onnx

        half = store_half(onnx.load(source.model_path))
        return [(_write(source, half, "f16", "", folder / "f16"), "")]
    pictures = calibration.load(source, files)
    made = []
    for found in search(source, pictures, progress=tell):
        words = f"{found.precision} by {len(pictures.batch)} pictures: {found.words()}"
        where = folder / f"{found.precision}-{len(found.kept)}"
        made.append((_write(source, found.model, found.precision, words, where), words))
    return made


def _write(
    source: Bundle, model: Any, precision: GraphPrecision, words: str, target: Path
) -> Bundle:
    import onnx

    manifest = source.manifest
    file = target.with_name(f"{target.name}.onnx")
    onnx.save(model, file)
    # a graph with weights beside it was read whole: only the new file is the model
    files = {manifest.model_file: sha256_file(file)}
    changed = manifest.model_copy(
        update={
            "files": files,
            "precision": precision,
            "built_from": manifest.model_id,
            "accuracy": {},
            "training": "; ".join(filter(None, (manifest.training, words))),
            "model_id": compute_model_id(
                task=manifest.task,
                files=files,
                output_names=manifest.output_names,
                preprocessing=manifest.preprocessing,
                decoder=manifest.decoder,
            ),
        }
    )
    return write_bundle(target, changed, {manifest.model_file: file})


def _keep(bundle: Bundle, row: Row, out: Path) -> Bundle:
    """Write the chosen bundle, with how it is to be run."""
    runtime = row.candidate.runtime
    assert runtime == "openvino" or runtime == "onnxruntime"
    how = RunWith(runtime=runtime, precision="bf16" if row.candidate.precision == "bf16" else "f32")
    manifest = bundle.manifest.model_copy(update={"run_with": how})
    return write_bundle(out, manifest, {name: bundle.path / name for name in manifest.files})
