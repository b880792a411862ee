"""A trained model into a bundle that the edge loads: image tower, head and L2 norm, as ONNX.

The export is checked twice: the graph against the network on the same inputs, and the edge's way
from pixels to embeddings against that of training and evaluation.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from timm.utils.model import reparameterize_model
from torch import nn

from crosscam_deploy.embedding import embedder_inputs, whole_picture
from crosscam_deploy.export.to_onnx import export_embedder
from crosscam_deploy.importer import keep_if_it_runs
from crosscam_deploy.log import get_logger
from crosscam_deploy.manifest import Preprocessing
from crosscam_deploy.packing import pack
from crosscam_deploy.runtime.onnxruntime_engine import session
from crosscam_kernels.errors import RunError
from crosscam_trainer.data.transforms import for_test

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from crosscam_deploy.bundle import Bundle
    from crosscam_trainer.data.transforms import Preparation
    from crosscam_trainer.models.reid import ReIDModel

_log = get_logger("trainer")
_PICTURES = 8
# float32 in two engines on rows of unit length; twelve layers measured about 1e-6
_MAX_GRAPH_ERROR = 1e-4
# the resizing of training keeps 8 bits, that of the edge floats: half a grey level a pixel, which
# must move a picture much less than other pictures are away
_MAX_SHARE = 0.5


class Exported(NamedTuple):
    """A bundle and how exactly it is the model.

    Attributes:
        bundle: Written and verified.
        graph_error: Largest absolute difference between ONNX Runtime and torch over the elements of
            embeddings of unit length, on the same random inputs.
        picture_error: The same from pictures on: resized, normalised and embedded as on the edge
            against as in evaluation. With bicubic resizing in training it tells the mismatch.
        picture_cosine: Lowest cosine of the two embeddings of a picture.
        picture_share: Largest distance of the two embeddings of a picture, as a share of the median
            distance of two pictures.
    """

    bundle: Bundle
    graph_error: float
    picture_error: float
    picture_cosine: float
    picture_share: float


class _Embedding(nn.Module):
    """What is exported: pictures to embeddings of unit length."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


def export_bundle(
    model: ReIDModel,
    preparation: Preparation,
    folder: Path,
    *,
    name: str,
    licence: str,
    source: str,
    training: str,
    accuracy: Mapping[str, float] | None = None,
) -> Exported:
    """Write the bundle of a model.

    The model itself stays as it is, on its device and in its mode. Branches that only training
    needs (MobileCLIP's) are merged in the copy that is exported.

    Args:
        model: What `ReIDModel.embed` computes is exported; camera embeddings enter as their mean.
        preparation: How the model was trained to see pictures.
        folder: Folder of the new bundle; one with the same content is kept.
        name: For the manifest: lower case letters, digits, ``._-``.
        licence: Of the weights, which follows from data and pretrained weights.
        source: Where the weights come from.
        training: Data and recipe, in words.
        accuracy: Measured figures by name, protocol and split included.

    Raises:
        InputError: `folder` holds something else.
        RunError: The export failed, or its answers differ from the model's.
    """
    network = _Embedding(copy.deepcopy(model)).cpu().float().eval()
    network = reparameterize_model(network).requires_grad_(False)
    if preparation.interpolation != "bilinear":
        _log.warning("trained on bicubic pictures; the edge resizes bilinearly", model=name)
        training = f"{training} (pictures resized {preparation.interpolation})".strip()
    height, width = preparation.size
    settings = Preprocessing(
        height=height,
        width=width,
        color="rgb",
        scale=1 / 255,
        mean=preparation.mean,
        std=preparation.std,
        fit="stretch",
        filter="bilinear_antialias",
    )
    folder = Path(folder)
    existed = folder.exists()
    with tempfile.TemporaryDirectory(prefix="crosscam-export-") as staging:
        file = Path(staging) / "model.onnx"
        export_embedder(torch, network, preparation.size, file, name=name)
        graph_error = _graph_error(network, preparation, file)
        if not graph_error <= _MAX_GRAPH_ERROR:
            raise RunError(
                f"the exported graph of {name} differs from the model by {graph_error:.2g}",
                expected=f"at most {_MAX_GRAPH_ERROR}",
                fix="update torch and onnxscript, and report the model",
            )
        bundle = pack(
            folder,
            name=name,
            task="embed",
            files={file.name: file},
            preprocessing=settings,
            decoder=None,
            licence=licence,
            source=source,
            training=training,
            accuracy=dict(accuracy or {}),
        )
    bundle = keep_if_it_runs(bundle)
    error, cosine, share = _picture_error(model, preparation, bundle)
    if preparation.interpolation == "bilinear" and not share <= _MAX_SHARE:
        if not existed:
            shutil.rmtree(bundle.path, ignore_errors=True)
        raise RunError(
            f"the edge's embeddings of {name} differ from the model's by {share:.2f} of the "
            "distance of two pictures",
            expected=f"at most {_MAX_SHARE}",
            fix="report it: pre-processing of training and edge disagree",
        )
    _log.info("exported", bundle=str(bundle.path), graph_error=graph_error, picture_error=error)
    return Exported(bundle, graph_error, error, cosine, share)


def _graph_error(network: nn.Module, preparation: Preparation, file: Path) -> float:
    """Largest difference on random inputs, one at a time and as a batch."""
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(_PICTURES, 3, *preparation.size, generator=drawn)
    with torch.inference_mode():
        expected = network(images).numpy()
    opened = session(file)
    batch = opened.run(None, {"images": images.numpy()})[0]
    single = np.concatenate([opened.run(None, {"images": i[None].numpy()})[0] for i in images])
    return float(max(np.abs(batch - expected).max(), np.abs(single - expected).max()))


def _picture_error(
    model: ReIDModel, preparation: Preparation, bundle: Bundle
) -> tuple[float, float, float]:
    """Compare evaluation's way from pixels to embeddings with that of the edge."""
    height, width = preparation.size
    pictures = [_picture(seed, 2 * height, 2 * width) for seed in range(_PICTURES)]
    transform = for_test(preparation)
    inputs = torch.stack([transform(picture)[0] for picture in pictures])
    reference = _Embedding(copy.deepcopy(model)).cpu().float().eval()
    with torch.inference_mode():
        expected = reference(inputs).numpy()
    prep = bundle.manifest.preprocessing
    served = np.concatenate(
        [
            embedder_inputs(
                np.ascontiguousarray(picture[..., ::-1]), whole_picture(picture), prep, "bgr"
            )
            for picture in pictures
        ]
    )
    opened: Any = session(bundle.model_path)
    found = opened.run(None, {bundle.manifest.input_name: served})[0]
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1)
    between = np.linalg.norm(expected[:, None] - expected, axis=2)
    apart = float(np.median(between[~np.eye(len(expected), dtype=bool)])) or 1.0
    share = float(np.linalg.norm(found - expected, axis=1).max()) / apart
    return float(np.abs(found - expected).max()), float(cosine.min()), share


def _picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture with colours at coarse and fine scales, as photographs have."""
    rng = np.random.default_rng(seed)
    values = np.zeros((height, width, 3))
    for cells in (4, 16, 64):
        coarse = rng.normal(0, 160 / cells**0.5, (cells, cells, 3))
        rows = np.arange(height) * cells // height
        columns = np.arange(width) * cells // width
        values += coarse[rows][:, columns]
    return np.clip(values + 128, 0, 255).astype(np.uint8)
