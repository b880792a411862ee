"""`Bundle`: a model's files with their manifest, verified before anything reads them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from crosscam_deploy import bundle_zip
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import MANIFEST_NAME, Manifest
from crosscam_deploy.paths import cache_dir
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified model.

    Attributes:
        path: Folder with the files and ``manifest.json``.
        manifest: What the model is and how it must be fed.
    """

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The graph's file."""
        return self.path / self.manifest.model_file

    @property
    def model_id(self) -> str:
        """Identity of the model: outputs of different ids are never compared."""
        return self.manifest.model_id


def parse_manifest(text: str | bytes, *, origin: str) -> Manifest:
    """Read a manifest strictly.

    Args:
        text: JSON.
        origin: Name of the source for the error message.

    Raises:
        InputError: Not JSON, an unknown or missing key, or a value outside its range.
    """
    try:
        return Manifest.model_validate_json(text, strict=False)
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False)[:5]:
            where = ".".join(str(part) for part in item["loc"]) or "manifest"
            problems.append(f"{where}: {item['msg']}")
        raise InputError(
            f"the manifest of {origin} is not valid: " + "; ".join(problems),
            expected="the keys and ranges of docs/guides/models.md",
            fix="correct the manifest, or import the model again with `crosscam models import`",
        ) from None


def load_bundle(path: Path) -> Bundle:
    """Open a bundle and check every file of it.

    Args:
        path: Folder with a ``manifest.json``, or a zip of one (unpacked once into the cache).

    Raises:
        InputError: Missing, malformed, unsafe, or a file whose sha256 is not the manifest's.
    """
    path = Path(path)
    if path.is_file():
        return _load_zip(path)
    if not path.exists():
        raise InputError(
            f"there is no bundle at {path}",
            expected="a folder with manifest.json, or a zip of one",
            fix="give the path of a bundle, or a name listed by `crosscam models list`",
        )
    return _load_folder(path, origin=str(path))


def _load_zip(path: Path) -> Bundle:
    parent = cache_dir() / "bundles"
    folder = bundle_zip.unpack(path, parent)
    try:
        return _load_folder(folder, origin=str(path))
    except InputError:
        # either the zip is bad or the unpacked copy was damaged since: unpack once more
        shutil.rmtree(folder, ignore_errors=True)
        return _load_folder(bundle_zip.unpack(path, parent), origin=str(path))


def _load_folder(folder: Path, *, origin: str) -> Bundle:
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file() or manifest_path.is_symlink():
        raise InputError(
            f"{origin} has no {MANIFEST_NAME}",
            expected="a model bundle: nothing runs without a manifest",
            fix="make a bundle of a plain model file with `crosscam models import FILE`",
        )
    if manifest_path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise InputError(f"the manifest of {origin} is larger than 1 MiB", fix="import it again")
    manifest = parse_manifest(manifest_path.read_bytes(), origin=origin)
    _check_files(folder, manifest, origin=origin)
    expected_id = manifest.computed_model_id()
    if manifest.model_id != expected_id:
        raise InputError(
            f"the manifest of {origin} was changed: its model_id {manifest.model_id[:12]}… does "
            "not follow from its files, pre-processing and decoder",
            expected=f"model_id {expected_id}",
            fix="undo the change, or make a new bundle with `crosscam models import`",
        )
    return Bundle(path=folder, manifest=manifest)


def _check_files(folder: Path, manifest: Manifest, *, origin: str) -> None:
    root = folder.resolve()
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise InputError(
                f"{origin} lacks its file {name}",
                expected=f"a file with sha256 {expected}",
                fix="copy the whole bundle again",
            )
        if file.is_symlink() or not file.resolve().is_relative_to(root):
            raise InputError(
                f"{name} in {origin} is a link",
                expected="plain files inside the bundle's folder",
                fix="replace the link by the file itself",
            )
        try:
            found = sha256_file(file)
        except OSError as error:
            raise InputError(
                f"{name} in {origin} cannot be read ({error.strerror or error})",
                fix="make it readable, or copy the bundle again",
            ) from error
        if found != expected:
            raise InputError(
                f"{name} in {origin} has sha256 {found}",
                expected=f"sha256 {expected}",
                fix="the file is damaged or was replaced: download or import the model again "
                "(`crosscam models pull NAME`)",
            )
    extra = {
        entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if not entry.is_dir()
    } - {*manifest.files, MANIFEST_NAME}
    if extra:
        raise InputError(
            f"{origin} holds files that its manifest does not list: {', '.join(sorted(extra)[:5])}",
            expected="only files with a sha256 in the manifest (a graph may read its neighbours)",
            fix="delete them or import the model again",
        )


def write_bundle(target: Path, manifest: Manifest, sources: Mapping[str, Path]) -> Bundle:
    """Write a bundle folder atomically and return it, verified.

    Args:
        target: Folder to create; an existing one with the same content is kept.
        manifest: Its `files` must be the sha256 of `sources`.
        sources: Where each file of ``manifest.files`` is now; linked when possible, else copied.

    Raises:
        InputError: `target` holds something else, or a source has another hash.
        RunError: The disk is full or the folder cannot be written.
    """
    if target.exists():
        existing = load_bundle(target)
        if existing.manifest == manifest:
            return existing
        raise InputError(
            f"{target} already holds another bundle ({existing.manifest.name})",
            fix="choose another output folder or delete that one",
        )
    try:
        _write_folder(target, manifest, sources)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror or error})",
            fix="free some space or choose another folder (the cache: CROSSCAM_CACHE)",
        ) from error
    return load_bundle(target)


def _write_folder(target: Path, manifest: Manifest, sources: Mapping[str, Path]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name in manifest.files:
            destination = staging / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(sources[name], destination)
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (staging / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
        _load_folder(staging, origin=str(target))
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():  # another process was faster: its bundle is checked next
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link_or_copy(source: Path, destination: Path) -> None:
    try:
        os.link(source.resolve(), destination)
    except OSError:  # another file system, or links not allowed
        shutil.copyfile(source, destination)
