"""Every tower of the trainer in every precision, built by the real TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_graphs import in_precision
from every_engine import PRECISIONS, build, in_full, those_with

torch = pytest.importorskip("torch")

from crosscam_deploy.bundle import Bundle  # noqa: E402
from crosscam_deploy.engines import TensorRT  # noqa: E402
from crosscam_trainer.models.architectures import SUPPORTED  # noqa: E402
from crosscam_trainer.models.build import bare_model  # noqa: E402
from crosscam_trainer.models.export import export_bundle  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402

SMALL = ("crosscam-s", "crosscam-m", "crosscam-ibn")
"""With two profiles, and in fp8; the others take longer: with one, and in fp8 in a slow test."""


def exported(tower: str, folder: Path) -> Bundle:
    torch.manual_seed(0)
    made = bare_model(ModelRecipe(tower=tower, pooling=SUPPORTED[tower]))
    fields = {"licence": "Apache-2.0", "source": "test", "training": "random weights"}
    return export_bundle(made.model, made.preparation, folder, name="tower", **fields).bundle


# All precisions in one test: exporting a tower takes longer than building an engine of it.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tower", SUPPORTED)
def test_towers_of_the_trainer_for_all_architectures(
    rtx: TensorRT, tmp_path: Path, tower: str
) -> None:
    whole = exported(tower, tmp_path / "bundle")
    buckets = (1, 4) if tower in SMALL else (1,)
    for precision in PRECISIONS:
        if precision != "fp8" or tower in SMALL:
            bundle = in_precision(whole, precision, tmp_path / precision)
            in_full(build(rtx, bundle, those_with(precision, bundle), buckets), precision, bundle)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tower", sorted(set(SUPPORTED) - set(SMALL)))
def test_large_towers_in_fp8(rtx: TensorRT, tmp_path: Path, tower: str) -> None:
    bundle = in_precision(exported(tower, tmp_path / "bundle"), "fp8", tmp_path / "fp8")
    in_full(build(rtx, bundle, those_with("fp8", bundle), (1,)), "fp8", bundle)
