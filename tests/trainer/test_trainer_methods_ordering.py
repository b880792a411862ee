"""What CCAFL is for: labels of each camera teach more when cameras are bridged (minutes)."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import painted_people  # noqa: E402

from crosscam_trainer.loop.makers import default_makers  # noqa: E402
from crosscam_trainer.loop.train import train  # noqa: E402

EPOCHS = 12
COMMON: dict[str, Any] = {
    "epochs": EPOCHS,
    "prompts": {"epochs": 2},
    "optimiser": {"lr": 2e-3, "warmup_epochs": 1, "schedule": "cosine"},
}
METHODS: dict[str, dict[str, Any]] = {
    "naive": {"name": "clip_reid", **COMMON},
    "ccafl": {
        "name": "ccafl",
        **COMMON,
        "intra": {"epochs": EPOCHS // 4},
        "ical": {"adv_window": [EPOCHS // 2, None]},
    },
}


@pytest.mark.slow
def test_ccafl_finds_unseen_people_better_than_labels_of_cameras_taken_for_people(
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    root = painted_people.paint(tmp_path / "set")
    makers = replace(default_makers(), finish=None)
    found: dict[str, list[dict[str, float]]] = {}
    for name, method in METHODS.items():
        for seed in (0, 1):
            recipe = painted_people.recipe(root, "intra", method, seed)
            summary = train(recipe, tmp_path / f"{name}-{seed}", makers)
            figures = {key: mean for key, (mean, _) in summary.figures["last"].items()}
            found.setdefault(name, []).append(figures)

    def mean(name: str, figure: str) -> float:
        return statistics.fmean(figures[figure] for figures in found[name])

    assert mean("ccafl", "mAP") > mean("naive", "mAP") + 0.02
    assert mean("ccafl", "camera probe") < mean("naive", "camera probe")
