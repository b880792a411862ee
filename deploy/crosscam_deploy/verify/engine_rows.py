"""Engines of TensorRT in a report: what their manifests tell, and rows of those not run here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.engines.api import find_tensorrt
from crosscam_deploy.engines.beside import engines_beside
from crosscam_deploy.engines.device import find_device
from crosscam_deploy.verify.types import Candidate, EngineFacts, Row
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.manifest import EngineManifest
    from crosscam_deploy.verify.types import Report


def facts(manifest: EngineManifest) -> EngineFacts:
    """Return what an engine's manifest tells, for a row."""
    return EngineFacts(
        version=manifest.version,
        built_for=built_for(manifest),
        buckets=tuple(profile.most for profile in manifest.profiles),
        plan_bytes=manifest.plan_bytes,
        plan_sha256=manifest.plan_sha256,
        layers=manifest.layers,
        products=manifest.products,
        seconds=manifest.seconds,
    )


def built_for(manifest: EngineManifest) -> str:
    """Return the GPUs that an engine is for, in words."""
    asked = manifest.options.capabilities
    if asked or manifest.is_rtx:
        return f"compute capability {', '.join(asked) or manifest.capability}"
    if manifest.options.hardware == "ampere-and-later":
        return "compute capability 8.0 and later"
    if manifest.options.hardware == "same-capability":
        return f"compute capability {manifest.capability}"
    return str(manifest.device)


def rows_not_run(bundle: Bundle) -> Iterator[Row]:
    """Give a row for each engine that travels with a bundle and cannot run on this machine."""
    for engine in engines_beside(bundle):
        reasons = _why_not(engine.manifest)
        if reasons:
            yield Row(
                role="candidate",
                candidate=Candidate(
                    bundle=bundle.path, runtime=engine.manifest.flavour, precision="auto"
                ),
                model=bundle.manifest.name,
                model_id=bundle.model_id,
                graph_precision=bundle.manifest.precision,
                float_nodes=bundle.manifest.float_nodes,
                status="built",
                reasons=reasons,
                file_bytes=sum(
                    (bundle.path / name).stat().st_size for name in bundle.manifest.files
                ),
                engine=facts(engine.manifest),
            )


def _why_not(manifest: EngineManifest) -> tuple[str, ...]:
    about = f"built for {built_for(manifest)} by {manifest.flavour} {manifest.version}, not run"
    try:
        problems = manifest.problems(find_tensorrt(manifest.flavour), find_device())
    except CrosscamError as error:  # not installed, or a driver that is out of order
        problems = [error.found]
    return (f"{about}: {'; '.join(problems)}",) if problems else ()


def with_engines(report: Report, bundles: Iterable[Bundle]) -> Report:
    """Return a report with a row for each engine that travels with some bundles and was not run."""
    rows = [row for bundle in bundles for row in rows_not_run(bundle)]
    return report.model_copy(update={"rows": (*report.rows, *rows)})
