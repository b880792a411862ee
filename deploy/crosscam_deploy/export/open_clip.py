"""CLIP towers (open_clip) into embedder bundles for person crops.

The image tower leaves with the L2 norm inside the graph and any batch size; beside it the text
tower, where texts are read as CLIP reads them, so that people are found by words too. Crops of
people are 256 x 128: transformers interpolate their positional embedding when open_clip is told so,
the attention pool of the ResNets does not and is resized here (bicubic, as open_clip does for
ViTs).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscam_deploy.export.open_clip_text import export_text
from crosscam_deploy.export.positions import resize_positions
from crosscam_deploy.export.to_onnx import export_embedder
from crosscam_deploy.importer import bundle_name, keep_if_it_runs
from crosscam_deploy.log import get_logger
from crosscam_deploy.manifest import Preprocessing
from crosscam_deploy.packing import pack
from crosscam_kernels.errors import (
    CrosscamError,
    InputError,
    MissingExtraError,
    RunError,
    UsageError,
)

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle

_log = get_logger("export")


def export_open_clip(
    model: str,
    target: Path,
    *,
    name: str | None = None,
    image_size: tuple[int, int] = (256, 128),
    licence: str = "unknown",
    training: str = "",
) -> Bundle:
    """Export the image tower of an open_clip model, and its text tower where that reads as CLIP's.

    Args:
        model: ``<architecture>/<pretrained tag or path of a checkpoint>``; the tag ``random``
            leaves the tower untrained, for tests.
        target: Folder of the new bundle.
        name: Name of the bundle.
        image_size: ``(height, width)`` of the crops in pixels.
        licence: Licence of the weights.
        training: Data and recipe for the manifest.

    Raises:
        MissingExtraError: torch or open_clip is not installed.
        UsageError: Unknown architecture or tag.
        RunError: The export failed, or the graph's answers differ from the tower's.
    """
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise MissingExtraError("the export of CLIP towers", "train") from error
    architecture, _, weights = model.partition("/")
    clip, tower = _towers(open_clip, torch, architecture, weights, image_size)
    with tempfile.TemporaryDirectory(prefix="crosscam-export-") as folder:
        file = Path(folder) / f"{bundle_name(architecture)}.onnx"
        export_embedder(torch, tower, image_size, file, name=model)
        settings = open_clip.model.get_model_preprocess_cfg(tower.visual)
        bundle = pack(
            target,
            name=name or bundle_name(f"clip-{model}"),
            task="embed",
            files={file.name: file, **_text(torch, open_clip, clip, architecture, file)},
            preprocessing=Preprocessing(
                height=image_size[0],
                width=image_size[1],
                color="rgb",
                scale=1 / 255,
                mean=tuple(settings["mean"]),
                std=tuple(settings["std"]),
            ),
            decoder=None,
            licence=licence,
            source=f"open_clip {model}",
            training=training,
        )
    return keep_if_it_runs(bundle)


def _text(
    torch: Any, open_clip: Any, clip: Any, architecture: str, beside: Path
) -> dict[str, Path]:
    """Return the files of the text tower; without one a bundle finds people by pictures alone."""
    try:
        return export_text(torch, open_clip, clip, architecture, beside)
    except CrosscamError as error:
        _log.warning("the text tower is left out", reason=str(error))
        return {}


def _towers(
    open_clip: Any, torch: Any, architecture: str, weights: str, image_size: tuple[int, int]
) -> tuple[Any, Any]:
    """Return the model, and its image tower with the L2 norm."""
    if architecture not in open_clip.list_models():
        raise UsageError(
            f"open_clip has no architecture {architecture!r}",
            expected="one of open_clip.list_models(), ViT-B-16 or RN50 for example",
            fix="write clip:<architecture>/<tag or checkpoint path>",
        )
    pretrained = None if weights in ("", "random") else weights
    if pretrained is not None:
        known = open_clip.list_pretrained_tags_by_model(architecture)
        if pretrained not in known and not Path(pretrained).is_file():
            raise UsageError(
                f"open_clip has no weights {weights!r} for {architecture}",
                expected=f"the path of a checkpoint, or one of {', '.join(known)}",
                fix="write clip:<architecture>/<tag or checkpoint path>",
            )
    # open_clip only warns when a tag was trained with the other GELU; the embeddings would be off
    tag = open_clip.pretrained.get_pretrained_cfg(architecture, pretrained) if pretrained else {}
    vision = open_clip.get_model_config(architecture)["vision_cfg"]
    is_resnet = isinstance(vision.get("layers"), list)
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=pretrained,
            force_image_size=None if is_resnet else image_size,
            force_quick_gelu=bool(tag.get("quick_gelu", False)),
            pretrained_text=False,
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            f"the weights of {architecture}/{weights} cannot be loaded ({error})",
            fix=f"download the checkpoint elsewhere and give its path: clip:{architecture}/PATH",
        ) from error
    if is_resnet:
        _resize_attention_pool(torch, model.visual, image_size)

    class ImageTower(torch.nn.Module):  # type: ignore[misc]
        """The image tower with the L2 norm."""

        def __init__(self, visual: Any) -> None:
            super().__init__()
            self.visual = visual

        def forward(self, images: Any) -> Any:
            return torch.nn.functional.normalize(self.visual(images), dim=-1)

    return model, ImageTower(model.visual).eval()


def _resize_attention_pool(torch: Any, visual: Any, image_size: tuple[int, int]) -> None:
    """Fit the positional embedding of a ResNet's attention pool to another grid.

    The embedding `(1 + S * S, C)` holds the mean token first and then one row a cell of the square
    grid of the training size; cells are 32 pixels.
    """
    if image_size[0] % 32 or image_size[1] % 32:
        raise InputError(
            f"an attention pool cannot take {image_size} pixels",
            expected="a size in multiples of 32 pixels",
            fix="use 256 x 128",
        )
    pool = visual.attnpool
    with torch.no_grad():
        grid = (image_size[0] // 32, image_size[1] // 32)
        resized = resize_positions(torch, pool.positional_embedding, grid)
    pool.positional_embedding = torch.nn.Parameter(resized)
