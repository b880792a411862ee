"""The graphs of a plan: a model written anew in fewer bits, as a bundle of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from crosscam_deploy.bundle import write_bundle
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import RunWith, compute_model_id
from crosscam_deploy.precision import calibration
from crosscam_deploy.precision.emulation import emulated
from crosscam_deploy.precision.half import store_half
from crosscam_deploy.precision.search import search
from crosscam_deploy.text_tower import GRAPH, MERGES, has_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_deploy.building.plan import Plan, Step
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.manifest import EngineFor, GraphPrecision
    from crosscam_deploy.precision.search import Engine as RunsOn
    from crosscam_deploy.verify.run import Progress


class _Told(NamedTuple):
    """What the manifest says of a graph: its numbers, how they were found, and what stays float."""

    precision: GraphPrecision
    words: str = ""
    float_nodes: int = 0


class Graph(NamedTuple):
    """A graph that was made.

    Attributes:
        step: Of the plan.
        bundle: With it.
        compared: Whose answers are compared: the bundle, or one that computes on a processor what
            the graph's 16 bits would make of them.
        note: How it was made; empty where there is nothing to tell.
    """

    step: Step
    bundle: Bundle
    compared: Bundle
    note: str


def make_graphs(plan: Plan, files: Sequence[Path], folder: Path, progress: Progress) -> list[Graph]:
    """Make the graphs of a plan; several for a step of which a verification shall choose.

    Args:
        plan: What to make.
        files: Pictures that ranges follow from.
        folder: Where the bundles go.
        progress: Hears what is being done.

    Raises:
        InputError: The model or the pictures cannot be used.
    """
    return [
        graph
        for step in plan.steps
        for graph in _graphs(plan.bundle, step, files, folder, plan.told, progress)
    ]


def _graphs(
    source: Bundle,
    step: Step,
    files: Sequence[Path],
    folder: Path,
    engine: EngineFor | None,
    tell: Progress,
) -> list[Graph]:
    import onnx

    if step.precision == "f32":
        whole = _as_it_is(source, folder / "f32", engine)
        return [Graph(step, whole, whole, "")]
    if not step.for_gpu and step.precision == "f16":
        half = store_half(onnx.load(source.model_path))
        stored = _write(source, half, _Told("f16"), folder / "f16")
        return [Graph(step, stored, stored, "")]
    assert step.precision != "mixed"
    pictures = calibration.load(source, files)
    runs_on: RunsOn = "tensorrt" if step.for_gpu else "cpu"
    made = []
    for found in search(source, pictures, precision=step.precision, engine=runs_on, progress=tell):
        words = f"{found.precision} by {len(pictures.batch)} pictures: {found.words()}"
        told = _Told(found.precision, words, len(found.kept) if found.precision == "mixed" else 0)
        place = folder / f"{step.precision}-{len(found.kept)}"
        bundle = _write(source, found.model, told, place, engine)
        compared = bundle
        if step.emulated:
            place = place.with_name(f"{place.name}-emulated")
            compared = _write(source, emulated(found.model), told, place)
        made.append(Graph(step, bundle, compared, words))
    return made


def _as_it_is(source: Bundle, target: Path, engine: EngineFor | None) -> Bundle:
    """Return the model itself; with how TensorRT shall make its engine, where that is told."""
    if engine is None:
        return source
    manifest = source.manifest.model_copy(update={"run_with": _for_engine(engine)})
    return write_bundle(target, manifest, {name: source.path / name for name in manifest.files})


def _write(
    source: Bundle,
    model: Any,
    told: _Told,
    target: Path,
    engine: EngineFor | None = None,
) -> Bundle:
    import onnx

    manifest = source.manifest
    file = target.with_name(f"{target.name}.onnx")
    onnx.save(model, file)
    # A graph with weights beside it was read whole: only the new file is the model. Texts are
    # embedded once in a while, by the tower as it is.
    texts = (GRAPH, MERGES) if has_text(source) else ()
    files = {manifest.model_file: sha256_file(file)} | {n: manifest.files[n] for n in texts}
    changed = manifest.model_copy(
        update={
            "files": files,
            "precision": told.precision,
            "float_nodes": told.float_nodes,
            "built_from": manifest.model_id,
            "accuracy": {},
            "training": "; ".join(filter(None, (manifest.training, told.words))),
            "run_with": None if engine is None else _for_engine(engine),
            "model_id": compute_model_id(
                task=manifest.task,
                files=files,
                output_names=manifest.output_names,
                preprocessing=manifest.preprocessing,
                decoder=manifest.decoder,
            ),
        }
    )
    paths = {manifest.model_file: file} | {name: source.path / name for name in texts}
    return write_bundle(target, changed, paths)


def _for_engine(engine: EngineFor) -> RunWith:
    """Return what a worker must know before anything is chosen."""
    return RunWith(runtime="tensorrt", precision="f32", measured=False, engine=engine)
