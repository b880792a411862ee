"""A trained detector into a bundle that the edge loads, compared before it is used.

The graph takes any batch and any input in multiples of 32 pixels. It is checked at two sizes: its
rows against the network's, and the boxes that the edge's decoder makes of them against the
network's own.

Scores of detectors do not mean the same, and trackers have thresholds. So the exported score is
bent, ``score ** bend``: the score at which one in twenty of the judged pictures has a wrong box
becomes `TRUSTED`, from which on the edge lets boxes start tracks. So few, because real rooms hold
more that looks like somebody than generated ones. Order and average precision stay.
"""

from __future__ import annotations

import copy
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import yaml

from crosscam_deploy.decode import decode
from crosscam_deploy.export.to_onnx import write_graph
from crosscam_deploy.importer import keep_if_it_runs
from crosscam_deploy.log import get_logger
from crosscam_deploy.packing import pack
from crosscam_deploy.preprocess import LetterboxTransform
from crosscam_deploy.runtime.onnxruntime_engine import session
from crosscam_kernels.errors import RunError
from crosscam_trainer.detection.cells import detect
from crosscam_trainer.detection.judging import DECODER, preparation
from crosscam_trainer.detection.network import Rows
from crosscam_trainer.loop.checkpoint import writing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crosscam_deploy.bundle import Bundle
    from crosscam_trainer.detection.network import PersonDetector
    from crosscam_trainer.detection.recipe import DetectorRecipe

_log = get_logger("trainer")
_MAX_ERROR = 1e-3  # float32 in two engines, of numbers around 1
_MAX_MOVED = 0.05  # pixels
TRUSTED = 0.45
"""`TrackerConfig.high_confidence`."""
_MOST_BENT = 3.0


def export_detector(
    network: PersonDetector, recipe: DetectorRecipe, folder: Path, figures: Mapping[str, float]
) -> Bundle:
    """Write the bundle of a detector, and its card beside it.

    Args:
        network: Stays as it is.
        recipe: That it was trained by.
        folder: Of the new bundle; one with the same content is kept.
        figures: Measured on pictures that were kept for judging; `threshold` and `sure`, scores of
            the network, are told as the scores that the bundle gives.

    Raises:
        InputError: `folder` holds something else.
        RunError: The export failed, or its answers differ from the network's.
    """
    bend = bend_of(figures.get("sure", TRUSTED))
    scores = {k: figures[k] ** bend for k in ("threshold", "sure") if k in figures}
    figures = {**figures, **scores}
    rows = Rows(copy.deepcopy(network).cpu().float().eval(), bend).requires_grad_(False).eval()
    rows = rows.to(memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory(prefix="crosscam-export-") as staging:
        file = Path(staging) / "model.onnx"
        _to_onnx(rows, recipe.published, file, recipe.name)
        for size in (recipe.published, (recipe.published[0] + 32, recipe.published[1] - 32)):
            _compare(rows, file, size, recipe.name)
        bundle = pack(
            folder,
            name=recipe.name,
            task="detect",
            files={file.name: file},
            preprocessing=preparation(recipe.published),
            decoder=DECODER,
            licence=recipe.licence,
            source="trained with crosscam",
            training=f"{recipe.optimiser.steps} steps of {recipe.optimiser.batch} inputs; "
            f"data: {recipe.data.licence}",
            accuracy=dict(figures),
        )
    bundle = keep_if_it_runs(bundle)
    card = folder.with_suffix(".card.md")
    with writing(card):
        card.write_text(_card(bundle, recipe, figures), encoding="utf-8")
    _log.info("exported", bundle=str(bundle.path))
    return bundle


def bend_of(threshold: float) -> float:
    """Return the exponent that makes a score `TRUSTED`.

    Args:
        threshold: That score; where it is 0, 1 or no number, nothing is bent.
    """
    if not 0 < threshold < 1:
        return 1.0
    bend = math.log(TRUSTED) / math.log(threshold)
    return min(max(bend, 1 / _MOST_BENT), _MOST_BENT)


def _to_onnx(rows: Rows, size: tuple[int, int], file: Path, name: str) -> None:
    """Write the graph, with batch, height and width free."""
    free = {
        0: torch.export.Dim("batch", min=1),
        2: 32 * torch.export.Dim("rows", min=2, max=256),
        3: 32 * torch.export.Dim("columns", min=2, max=256),
    }
    example = torch.zeros(2, 3, *size)
    write_graph(torch, rows, example, free, file, output="rows", name=name)


def _compare(rows: Rows, file: Path, size: tuple[int, int], name: str) -> None:
    """Compare graph and network on random pictures of a size.

    Raises:
        RunError: They differ.
    """
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = rows(images)
        raw = rows.network(images)
    opened = session(file)
    found = opened.run(None, {"images": images.numpy()})[0]
    one = opened.run(None, {"images": images[:1].numpy()})[0]
    error = max(np.abs(found - expected.numpy()).max(), np.abs(one - expected[:1].numpy()).max())
    # The five hundred best cells, whatever the network has learnt; none suppressed.
    scores = (raw.person.sigmoid() * raw.quality.sigmoid()).sqrt()
    least = float(scores.flatten().topk(min(500, scores.numel())).values[-1])
    loose = DECODER.model_copy(update={"nms_iou": 1.0})
    still = [LetterboxTransform(1.0, 1.0)] * len(images)
    served = decode([found], loose, still, size, least**rows.bend)
    moved = 0.0
    for edge, (boxes, own) in zip(served, detect(raw, size, least, overlap=1.0), strict=True):
        if abs(len(edge) - len(own)) > 2:  # on either side of `least`
            moved = float("inf")
            continue
        nearest = torch.cdist(torch.from_numpy(edge.xyxy), boxes, p=float("inf"))
        if len(edge) and len(own):
            moved = max(moved, float(nearest.min(1).values.quantile(0.99)))
    if not (error <= _MAX_ERROR and moved <= _MAX_MOVED):
        raise RunError(
            f"the exported graph of {name} differs from the network by {error:.2g}, its boxes by "
            f"{moved:.2g} pixels at {size[0]}x{size[1]}",
            expected=f"at most {_MAX_ERROR} and {_MAX_MOVED}",
            fix="update torch and onnxscript, and report the model",
        )


def _card(bundle: Bundle, recipe: DetectorRecipe, figures: Mapping[str, float]) -> str:
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files)
    rows = [f"| {name} | {value:.3f} |" for name, value in figures.items()]
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).rstrip()
    lines = [
        f"# {recipe.name}",
        "",
        "Finds people in pictures. Trained with crosscam.",
        "",
        "| | |",
        "|---|---|",
        f"| licence of the weights | {recipe.licence} |",
        f"| data | {recipe.data.licence} |",
        f"| model id | `{bundle.model_id}` |",
        f"| bytes | {size:,} |",
        "",
        "## Accuracy on pictures of cameras that it was not trained on",
        "",
        f"From the same source as those of training, longest side {recipe.evaluation.longest} "
        "pixels, IoU 0.5.",
        "",
        "| figure | value |",
        "|---|---|",
        *rows,
        "",
        "## Recipe",
        "",
        "```yaml",
        text,
        "```",
        "",
    ]
    return "\n".join(lines)
