"""Writing what was chosen: the bundle, how it is to be run, and its engines beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.bundle import write_bundle
from crosscam_deploy.engines.beside import put_beside
from crosscam_deploy.engines.store import EngineStore
from crosscam_deploy.manifest import RunWith

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_deploy.building.graphs import Graph
    from crosscam_deploy.building.plan import Plan
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.store import Engine
    from crosscam_deploy.manifest import EngineFor
    from crosscam_deploy.verify import Row


def keep_timed(bundle: Bundle, row: Row, plan: Plan, out: Path) -> Bundle:
    """Write the fastest bundle, with how it was fastest and the engine that was measured.

    Args:
        bundle: What was chosen.
        row: What was measured of it.
        plan: That was carried out.
        out: Where it goes.
    """
    runtime = row.candidate.runtime
    assert (
        runtime == "openvino"
        or runtime == "onnxruntime"
        or runtime == "tensorrt"
        or runtime == "tensorrt-rtx"
    )
    plan_sha256 = None if row.engine is None else row.engine.plan_sha256
    engines = [each for each in EngineStore() if each.manifest.plan_sha256 == plan_sha256]
    how = RunWith(
        runtime=runtime,
        precision="bf16" if row.candidate.precision == "bf16" else "f32",
        engine=_listed(plan, engines[:1]) if row.engine is not None else None,
    )
    return _write(bundle, how, engines[:1], out)


def keep_untimed(graph: Graph, engines: Sequence[Engine], plan: Plan, out: Path) -> Bundle:
    """Write a bundle for a box that is not here, with the engines that were built for it.

    Args:
        graph: What was found to answer as it should.
        engines: Of it.
        plan: That was carried out.
        out: Where it goes.
    """
    how = RunWith(
        runtime=plan.engines[0].flavour,
        precision="f32",
        measured=False,
        engine=_listed(plan, engines),
    )
    return _write(graph.bundle, how, engines, out)


def _listed(plan: Plan, engines: Sequence[Engine]) -> EngineFor:
    assert plan.told is not None
    plans = tuple(sorted({engine.manifest.plan_sha256 for engine in engines}))
    return plan.told.model_copy(update={"plans": plans})


def _write(bundle: Bundle, how: RunWith, engines: Sequence[Engine], out: Path) -> Bundle:
    for engine in engines:
        put_beside(out, engine)
    manifest = bundle.manifest.model_copy(update={"run_with": how})
    return write_bundle(out, manifest, {name: bundle.path / name for name in manifest.files})
