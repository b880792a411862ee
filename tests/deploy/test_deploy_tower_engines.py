"""Every tower of the trainer in every precision, built by the real TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_graphs import in_precision
from every_engine import PRECISIONS, build, in_full, those_with

torch = pytest.importorskip("torch")

from crosscam_deploy.engines import TensorRT  # noqa: E402
from crosscam_trainer.models.architectures import SUPPORTED  # noqa: E402
from crosscam_trainer.models.build import bare_model  # noqa: E402
from crosscam_trainer.models.export import export_bundle  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402

SMALL = ("crosscam-s", "crosscam-m", "crosscam-ibn")
"""With two profiles; the others, which take longer, with one."""


# All precisions in one test: exporting a tower takes longer than building an engine of it.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tower", SUPPORTED)
def test_towers_of_the_trainer_for_all_architectures(
    rtx: TensorRT, tmp_path: Path, tower: str
) -> None:
    torch.manual_seed(0)
    made = bare_model(ModelRecipe(tower=tower, pooling=SUPPORTED[tower]))
    fields = {"licence": "Apache-2.0", "source": "test", "training": "random weights"}
    exported = export_bundle(
        made.model, made.preparation, tmp_path / "bundle", name="tower", **fields
    ).bundle
    buckets = (1, 4) if tower in SMALL else (1,)
    for precision in PRECISIONS:
        bundle = in_precision(exported, precision, tmp_path / precision)
        in_full(build(rtx, bundle, those_with(precision, bundle), buckets), precision, bundle)
