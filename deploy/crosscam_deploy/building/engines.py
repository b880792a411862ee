"""Engines built here for a GPU that is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.building.engine_ways import NOT_RUN
from crosscam_deploy.engines.api import find_tensorrt
from crosscam_deploy.engines.builder import EngineBuilder
from crosscam_deploy.engines.store import EngineStore
from crosscam_deploy.log import get_logger
from crosscam_deploy.verify.types import Candidate, Row
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_deploy.building.engine_ways import EngineWay
    from crosscam_deploy.building.plan import Plan
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.store import Engine
    from crosscam_deploy.verify.run import Progress

_log = get_logger("engines")


class EnginesFor:
    """Builds the engines of a plan that are not run here.

    Args:
        plan: Says which.
        folder: Where they go for now.
        progress: Hears how far a build is.

    Attributes:
        failed: A row for each that could not be built, with the reason.
    """

    def __init__(self, plan: Plan, folder: Path, progress: Progress) -> None:
        self.failed: list[Row] = []
        self._ways = [way for way in plan.engines if way.where == NOT_RUN]
        self._store = EngineStore(folder / "engines")
        self._progress = progress

    def build(self, bundle: Bundle) -> list[Engine]:
        """Build the engines of a bundle."""
        made = []
        for way in self._ways:
            try:
                made.append(self._build(bundle, way))
            except CrosscamError as error:
                _log.warning("no engine", model=bundle.manifest.name, reason=str(error))
                self.failed.append(_failed(bundle, way, error))
        return made

    def _build(self, bundle: Bundle, way: EngineWay) -> Engine:
        tensorrt = find_tensorrt(way.flavour)
        what = f"building the {bundle.manifest.precision} engine"

        def progress(_step: str, share: float) -> None:
            self._progress(what, round(100 * share), 100)

        built = EngineBuilder(tensorrt, progress=progress).build(bundle, way.options)
        key = self._store.key(bundle, way.options, tensorrt, None)
        return self._store.keep(key, built)


def _failed(bundle: Bundle, way: EngineWay, error: CrosscamError) -> Row:
    return Row(
        role="candidate",
        candidate=Candidate(bundle=bundle.path, runtime=way.flavour, precision="auto"),
        model=bundle.manifest.name,
        model_id=bundle.model_id,
        graph_precision=bundle.manifest.precision,
        float_nodes=bundle.manifest.float_nodes,
        status="failed",
        reasons=(f"no engine was built: {error}",),
    )
