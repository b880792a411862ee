"""`EngineStore`: engines on disk, found by everything that decides what they are.

A folder for each, ``<key>/engine.json`` and ``engine.plan``, written whole or not at all. A plan's
sha256 is checked before TensorRT sees a byte of it: what is damaged or was replaced is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from crosscam_deploy.engines.manifest import ENGINE_MANIFEST, PLAN, EngineManifest
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.paths import cache_dir
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.api import TensorRT
    from crosscam_deploy.engines.builder import Built
    from crosscam_deploy.engines.device import Device
    from crosscam_deploy.engines.options import EngineOptions

_MOST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine on disk whose plan has the sha256 of its manifest.

    Attributes:
        path: Its folder.
        manifest: What it is.
    """

    path: Path
    manifest: EngineManifest

    def plan(self) -> bytes:
        """Return the plan, checked once more.

        Raises:
            InputError: It was changed since.
        """
        content = (self.path / PLAN).read_bytes()
        if hashlib.sha256(content).hexdigest() != self.manifest.plan_sha256:
            raise _damaged(self.path)
        return content


class EngineStore:
    """Engines in a folder.

    Args:
        root: None for ``engines`` in the cache.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else cache_dir() / "engines"

    def key(
        self, bundle: Bundle, options: EngineOptions, tensorrt: TensorRT, device: Device | None
    ) -> str:
        """Return the name of an engine: 32 hexadecimal digits of all that decides what it is."""
        needs_device = not options.capabilities
        about = {
            "model_id": bundle.model_id,
            "graph": bundle.manifest.files[bundle.manifest.model_file],
            "options": options.model_dump(mode="json"),
            "tensorrt": [tensorrt.flavour, tensorrt.version],
            "device": [device.name, device.capability] if needs_device and device else None,
        }
        text = json.dumps(about, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def find(self, key: str) -> Engine | None:
        """Return an engine, or None.

        Raises:
            InputError: It is there, and damaged.
        """
        folder = self.root / key
        return load_engine(folder) if (folder / ENGINE_MANIFEST).exists() else None

    def keep(self, key: str, built: Built) -> Engine:
        """Write an engine; one that is there already is replaced.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=self.root))
            try:
                (staging / PLAN).write_bytes(built.plan)
                text = json.dumps(built.manifest.model_dump(mode="json"), indent=2)
                (staging / ENGINE_MANIFEST).write_text(text + "\n", encoding="utf-8")
                staging.chmod(0o755)
                self.remove(key)
                os.rename(staging, self.root / key)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise RunError(
                f"the engine cannot be written to {self.root} ({error.strerror or error})",
                fix="free some space, or choose another folder (the cache: CROSSCAM_CACHE)",
            ) from error
        return load_engine(self.root / key)

    def remove(self, key: str) -> None:
        """Delete an engine, if it is there."""
        folder = self.root / key
        if folder.exists():
            shutil.rmtree(folder)

    def __iter__(self) -> Iterator[Engine]:
        """Go through the engines that are whole; damaged ones are left out."""
        if not self.root.is_dir():
            return
        for folder in sorted(self.root.iterdir()):
            if folder.name.startswith(".") or not (folder / ENGINE_MANIFEST).exists():
                continue
            try:
                yield load_engine(folder)
            except InputError:
                continue


def load_engine(folder: Path) -> Engine:
    """Read an engine's manifest and check its plan; nothing of the plan is interpreted.

    Raises:
        InputError: Missing, malformed, or a plan with another sha256.
    """
    file = folder / ENGINE_MANIFEST
    if not file.is_file() or file.is_symlink() or file.stat().st_size > _MOST_MANIFEST:
        raise InputError(
            f"{folder} is no engine",
            expected=f"a folder with {ENGINE_MANIFEST} and {PLAN}",
            fix="build it with `crosscam build`",
        )
    try:
        manifest = EngineManifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or ENGINE_MANIFEST
        raise InputError(
            f"{ENGINE_MANIFEST} of {folder} is not valid: {where}: {first['msg']}",
            fix="delete the folder and build the engine again",
        ) from None
    plan = folder / PLAN
    if not plan.is_file() or plan.is_symlink() or sha256_file(plan) != manifest.plan_sha256:
        raise _damaged(folder)
    return Engine(folder, manifest)


def check_usable(engine: Engine, tensorrt: TensorRT, device: Device | None) -> None:
    """Refuse an engine that cannot run here, with every reason.

    Raises:
        RunError: It was built for another TensorRT or GPU.
    """
    problems = engine.manifest.problems(tensorrt, device)
    if problems:
        raise RunError(
            f"the engine of {engine.manifest.name} in {engine.path} cannot run here: "
            + "; ".join(problems),
            expected="an engine that was built for this TensorRT and this GPU",
            fix="build it here with `crosscam build`",
        )


def _damaged(folder: Path) -> InputError:
    return InputError(
        f"{PLAN} in {folder} is damaged or was replaced: its sha256 is not that of its manifest",
        expected="the plan as it was built; it is not loaded",
        fix="delete the folder and build the engine again",
    )
