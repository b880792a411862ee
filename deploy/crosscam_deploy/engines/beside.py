"""Engines that travel with a bundle: a store ``<bundle>.engines`` beside its folder.

They are not in the folder, since a model's identity follows from the files in it, and an engine
holds no other model. The bundle's manifest lists the sha256 of their plans: a plan that it does not
list is not loaded, whatever lies there.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from crosscam_deploy.engines.manifest import ENGINE_MANIFEST
from crosscam_deploy.engines.store import EngineStore, load_engine
from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.api import TensorRT
    from crosscam_deploy.engines.device import Device
    from crosscam_deploy.engines.store import Engine

SUFFIX = ".engines"
_log = get_logger("engines")


def store_beside(folder: Path) -> EngineStore:
    """Return the store of engines that travel with the bundle in a folder."""
    return EngineStore(folder.parent / f"{folder.name}{SUFFIX}")


def engines_beside(bundle: Bundle) -> Iterator[Engine]:
    """Go through the engines that travel with a bundle and that its manifest lists.

    Others, and those that are damaged, are left out with a warning.
    """
    chosen = bundle.manifest.run_with
    listed = set(chosen.engine.plans) if chosen is not None and chosen.engine is not None else set()
    root = store_beside(bundle.path).root
    if not listed or not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") or not (folder / ENGINE_MANIFEST).exists():
            continue
        try:
            engine = load_engine(folder)
        except InputError as error:
            _log.warning("engine left aside", reason=str(error))
            continue
        if engine.manifest.plan_sha256 in listed and engine.manifest.model_id == bundle.model_id:
            yield engine
        else:
            _log.warning(
                "engine left aside",
                engine=str(folder),
                reason=f"the manifest of {bundle.manifest.name} does not list it",
            )


def find_beside(bundle: Bundle, tensorrt: TensorRT, device: Device) -> Engine | None:
    """Return an engine that travels with a bundle and runs here; None when there is none."""
    usable = (e for e in engines_beside(bundle) if not e.manifest.problems(tensorrt, device))
    return next(usable, None)


def put_beside(folder: Path, engine: Engine) -> Engine:
    """Copy an engine into the store of the bundle in a folder.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    target = store_beside(folder).root / engine.path.name
    try:
        shutil.copytree(engine.path, target, dirs_exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the engine cannot be written to {target} ({error.strerror or error})",
            fix="free some space, or choose another folder",
        ) from error
    return load_engine(target)
