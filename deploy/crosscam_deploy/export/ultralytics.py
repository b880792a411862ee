"""Ultralytics checkpoints (YOLO26, YOLO11, YOLOv8 …) into bundles, through their own exporter.

Both the package and its weights are AGPL-3.0, so this is an extra and the bundle says so. A
checkpoint is a pickle: opening one runs code from it. Those of the zoo are fetched with the hash
check of every download; only open others that you trust.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscam_deploy.importer import ImportOptions, bundle_name, import_model
from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import cache_dir, model_dirs
from crosscam_deploy.zoo.download import fetch
from crosscam_deploy.zoo.entries import ZooFile
from crosscam_kernels.errors import InputError, MissingExtraError, RunError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.zoo.entries import ZooEntry

_log = get_logger("export")
_OPSET = 18


def export_ultralytics_entry(entry: ZooEntry, target: Path, *, progress: bool) -> Bundle:
    """Find or download the checkpoint of a zoo entry and export it: see `export_entry`."""
    _load_package()
    assert entry.export is not None
    name = entry.export.checkpoint
    local = next((folder / name for folder in model_dirs() if (folder / name).is_file()), None)
    if local is None:
        file = ZooFile(name=name, url=entry.export.url)
        local = fetch(file, cache_dir() / "downloads" / entry.name / name, progress=progress)
    _log.warning(
        "AGPL-3.0 weights: services that use them must offer their source", model=entry.name
    )
    return export_ultralytics(local, target, name=target.name, training=entry.training)


def export_ultralytics(
    checkpoint: Path,
    target: Path,
    *,
    name: str | None = None,
    image_size: tuple[int, int] = (640, 640),
    training: str = "",
) -> Bundle:
    """Export a detection checkpoint, without NMS where the architecture has an end-to-end head.

    Args:
        checkpoint: A ``.pt`` file; it is copied, nothing is written beside it.
        target: Folder of the new bundle.
        name: Name of the bundle.
        image_size: ``(height, width)`` of the input in pixels, multiples of 32.
        training: Data and recipe for the manifest.

    Raises:
        MissingExtraError: ultralytics is not installed.
        InputError: Not a checkpoint of a detector.
        RunError: The exporter failed.
    """
    if not checkpoint.is_file():
        raise InputError(f"there is no file {checkpoint}", fix="check the path")
    yolo = _load_package()
    with tempfile.TemporaryDirectory(prefix="crosscam-export-") as folder:
        copied = Path(folder) / checkpoint.name
        shutil.copyfile(checkpoint, copied)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                model = yolo(str(copied))
                if model.task != "detect":
                    raise InputError(
                        f"{checkpoint.name} is a model for {model.task!r}",
                        expected="a detector",
                        fix="use a detection checkpoint, yolo26n.pt for example",
                    )
                exported = model.export(
                    format="onnx",
                    imgsz=list(image_size),
                    dynamic=True,
                    simplify=False,
                    nms=False,
                    opset=_OPSET,
                    device="cpu",
                    verbose=False,
                )
        except InputError:
            raise
        except Exception as error:  # any of torch, onnx and ultralytics
            raise RunError(
                f"the export of {checkpoint.name} failed ({type(error).__name__}: {error})",
                fix="update ultralytics (`pip install -U 'crosscam[yolo]'`)",
            ) from error
        return import_model(
            Path(str(exported)),
            "detect",
            target,
            ImportOptions(
                name=name or bundle_name(checkpoint.stem),
                size=image_size,
                licence="AGPL-3.0",
                source="https://github.com/ultralytics/ultralytics",
                training=training,
            ),
        )


def _load_package() -> Any:
    """Import ultralytics kept from the network, from installing packages and from chatting."""
    quiet = {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(cache_dir() / "ultralytics"),
    }
    for key, value in quiet.items():
        os.environ.setdefault(key, value)
    try:
        Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
        from ultralytics import YOLO
    except ImportError as error:
        raise MissingExtraError("the export of ultralytics models", "yolo") from error
    return YOLO
