"""From a name to a verified bundle: path, ``CROSSCAM_MODELS``, cache, package, then download."""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crosscam_deploy import bundle_zip
from crosscam_deploy.bundle import Bundle, load_bundle, parse_manifest
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.log import get_logger
from crosscam_deploy.manifest import MANIFEST_NAME
from crosscam_deploy.packing import pack
from crosscam_deploy.paths import MODELS_ENV, cache_dir, model_dirs, packaged_dir
from crosscam_deploy.zoo.entries import Task, Variant, ZooEntry, default_order, entries
from crosscam_kernels.errors import CrosscamError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = get_logger("zoo")
Place = Literal["models", "cache", "package"]
_DEFAULTS: dict[str, Task] = {"detector": "detect", "reid": "embed"}
CLIP_PREFIX = "clip:"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A known or found model and whether it can be used now.

    Attributes:
        name: Its name.
        task: What it does.
        licence: Licence of the weights.
        source: Who publishes it.
        available: Where it is: a folder of ``CROSSCAM_MODELS``, the cache, crosscam's own package,
            or nowhere yet.
        where: The file or folder.
        how: What `crosscam models pull` would do to get it.
        entry: The zoo's entry; None for a bundle of the user's own.
    """

    name: str
    task: Task
    licence: str
    source: str
    available: Place | None
    where: Path | None
    how: str
    entry: ZooEntry | None


def resolve(name_or_path: str, *, download: bool = True, progress: bool = True) -> Bundle:
    """Find a model, getting it when needed.

    Args:
        name_or_path: A bundle folder or zip; a name or alias of the zoo; the name of a bundle in
            ``CROSSCAM_MODELS`` or the cache; ``"detector"`` or ``"reid"`` for the best at hand;
            ``clip:<architecture>/<tag or checkpoint>``.
        download: Whether to download or export what is not found.
        progress: Whether to show a progress bar on standard error.

    Raises:
        InputError: Unknown name, not found and `download` is false, or a damaged file.
        RunError: Download or export failed; the message says how to place the file by hand.
        MissingExtraError: The export needs an extra that is not installed.
    """
    if name_or_path in _DEFAULTS:
        return _default(_DEFAULTS[name_or_path], download=download, progress=progress)
    found = _from_path(name_or_path)
    if found is not None:
        return found
    entry = _find_entry(name_or_path)
    raw = _raw_files(entry) if entry else None
    own = _own_bundle(entry.name if entry else name_or_path)
    # plain files in the user's folders come before what the cache holds
    if own is not None and not (raw and own.is_relative_to(cache_dir() / "models")):
        try:
            return load_bundle(own)
        except InputError as error:
            # what the cache holds can be had again, what the user placed is theirs
            if entry is None or not download or not own.is_relative_to(cache_dir() / "models"):
                raise
            _log.warning("damaged cached model replaced", model=entry.name, reason=str(error))
            shutil.rmtree(own, ignore_errors=True)
    if entry is None:
        raise _unknown(name_or_path)
    if raw is not None:
        return _import(entry, raw)
    if not download:
        raise InputError(
            f"the model {entry.name} is not on this machine",
            expected=f"its files in a folder of {MODELS_ENV}, or in the cache {cache_dir()}",
            fix=f"crosscam models pull {entry.name}",
        )
    return _obtain(entry, progress=progress)


def best_available(task: Task, *, packaged: bool = True) -> Bundle | None:
    """Return the best model that is on this machine already, or None.

    The user's own bundles in ``CROSSCAM_MODELS`` come first (by name), then the order documented
    in ``zoo.yaml``: detectors with a permissive licence before AGPL ones and larger before
    smaller, embedders by measured cross-camera accuracy. Nothing is downloaded; a model that
    cannot be opened is skipped with a warning.

    Args:
        task: What it is for.
        packaged: Whether those that come with crosscam count.
    """
    known = {_bundle_name(entry) for entry in entries()}
    own = [s for s in _scan_bundles() if s.task == task and s.name not in known and s.where]
    for status in sorted((s for s in own if s.available == "models"), key=lambda s: s.name):
        bundle = _try(str(status.where))
        if bundle is not None:
            return bundle
    for name in default_order(task):
        entry = _find_entry(name)
        if entry is None or (entry.packaged and not packaged):
            continue
        if _own_bundle(name) or _raw_files(entry):
            bundle = _try(name)
            if bundle is not None:
                return bundle
    return None


def list_models() -> list[ModelStatus]:
    """Return the zoo and the user's own bundles, each with where it is on this machine."""
    bundles: dict[str, ModelStatus] = {}
    for status in _scan_bundles():
        bundles.setdefault(status.name, status)
    result = []
    for entry in entries():
        found = bundles.pop(_bundle_name(entry), None)
        raw = _raw_files(entry)
        if raw and found and found.available == "cache":
            found = None
        result.append(
            ModelStatus(
                name=entry.name,
                task=entry.task,
                licence=entry.licence,
                source=entry.source,
                available=found.available if found else "models" if raw else None,
                where=found.where if found else next(iter(raw.values())) if raw else None,
                how=_how(entry),
                entry=entry,
            )
        )
    return result + list(bundles.values())


def _try(name: str) -> Bundle | None:
    try:
        return resolve(name, download=False)
    except CrosscamError as error:
        _log.warning("model skipped", model=name, reason=str(error))
        return None


def is_packaged(bundle: Bundle) -> bool:
    """Whether a bundle is one of those that come with crosscam."""
    return bundle.path.is_relative_to(packaged_dir())


def _default(task: Task, *, download: bool, progress: bool) -> Bundle:
    """The best at hand; what comes with crosscam only where nothing better can be had."""
    bundle = best_available(task, packaged=False)
    if bundle is not None:
        return bundle
    packaged = best_available(task)
    if download:
        try:
            return resolve(default_order(task)[0], progress=progress)
        except CrosscamError as error:
            if packaged is None:
                raise
            _log.info("the model that comes with crosscam is used", reason=str(error))
    if packaged is not None:
        return packaged
    raise InputError(
        f"no model for {task!r} is on this machine",
        expected=f"one of {', '.join(default_order(task))} in {MODELS_ENV} or the cache",
        fix=f"crosscam models pull {default_order(task)[0]}",
    )


def _from_path(text: str) -> Bundle | None:
    path = Path(text).expanduser()
    looks_like_path = os.sep in text or text.startswith(".") or path.suffix == ".zip"
    if text.startswith(CLIP_PREFIX) or not (looks_like_path or path.exists()):
        return None
    if path.suffix.lower() in (".onnx", ".xml") and path.is_file():
        known = _entry_of_file(path)
        if known is not None:
            return _import(*known)
        raise InputError(
            f"{path} is a plain model file: it does not say how images must be prepared for it",
            expected="a bundle (folder or zip with manifest.json), or a file the zoo knows",
            fix=f"crosscam models import {path} --task detect|embed",
        )
    if not looks_like_path and not (path / MANIFEST_NAME).is_file() and not path.is_file():
        return None  # a folder that happens to have the name of a model
    return load_bundle(path)


def _entry_of_file(path: Path) -> tuple[ZooEntry, dict[str, Path]] | None:
    for entry in entries():
        for variant in entry.variants:
            if variant.files[0].name == path.name:
                files = {file.name: path.parent / file.name for file in variant.files}
                if all(file.is_file() for file in files.values()):
                    return entry, files
    return None


def _find_entry(name: str) -> ZooEntry | None:
    lowered = name.casefold()
    for entry in entries():
        if lowered in (entry.name.casefold(), *(alias.casefold() for alias in entry.aliases)):
            return entry
    if lowered.startswith(CLIP_PREFIX) and "/" in name:
        template = next(e for e in entries() if e.export and e.export.kind == "open_clip")
        assert template.export is not None
        checkpoint = name[len(CLIP_PREFIX) :]
        export = template.export.model_copy(update={"checkpoint": checkpoint})
        changes = {"name": name, "aliases": (), "export": export, "size_mb": None}
        changes |= {"licence": "as the checkpoint", "training": "as the checkpoint"}
        return template.model_copy(update=changes)
    return None


def _unknown(name: str) -> InputError:
    names = [entry.name for entry in entries()] + [s.name for s in _scan_bundles()]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return InputError(
        f"there is no model {name!r}",
        expected="a path of a bundle or a name from `crosscam models list`",
        fix=f"{hint}list the known models with `crosscam models list`",
    )


def _bundle_name(entry: ZooEntry) -> str:
    """Return the entry's name in manifests and folders: lower case, no separators."""
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    name = "".join(c if c in allowed else "-" for c in entry.name.casefold())
    if len(name) > 80:
        digest = hashlib.sha256(entry.name.encode()).hexdigest()[:8]
        name = f"{name[:70]}-{digest}"
    return name


def _own_bundle(name: str) -> Path | None:
    entry = _find_entry(name)
    wanted = _bundle_name(entry) if entry else name.casefold()
    for status in _scan_bundles():
        if status.name == wanted:
            return status.where
    return None


def _scan_bundles() -> Iterator[ModelStatus]:
    """Yield bundles by name, unverified: the user's folders, the cache, then crosscam's own."""
    places: list[tuple[Path, Place]] = [
        *((folder, "models") for folder in model_dirs()),
        (cache_dir() / "models", "cache"),
        (packaged_dir(), "package"),
    ]
    for folder, kind in places:
        try:
            children = sorted(folder.iterdir())
        except OSError:  # not there or not readable: nothing found in it; doctor reports it
            continue
        for child in [folder, *children]:
            if child.name.startswith("."):
                continue
            bundle = _unzipped(child) if child.suffix == ".zip" else child
            if bundle is None or not (bundle / MANIFEST_NAME).is_file():
                continue
            status = _status_of(bundle, kind)
            if status is not None:
                yield status


def _unzipped(archive: Path) -> Path | None:
    """Return the folder of a zipped bundle; None for any other zip."""
    try:
        return bundle_zip.unpack(archive, cache_dir() / "bundles")
    except CrosscamError as error:
        _log.warning("zip skipped", path=str(archive), reason=str(error))
        return None


def _status_of(folder: Path, kind: Place) -> ModelStatus | None:
    try:
        manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes(), origin=str(folder))
    except (InputError, OSError) as error:
        _log.warning("bundle skipped", path=str(folder), reason=str(error))
        return None
    return ModelStatus(
        name=manifest.name,
        task=manifest.task,
        licence=manifest.licence,
        source=manifest.source,
        available=kind,
        where=folder,
        how="",
        entry=None,
    )


def _raw_files(entry: ZooEntry) -> dict[str, Path] | None:
    for folder in model_dirs():
        for variant in entry.variants:
            files = {file.name: folder / file.name for file in variant.files}
            if all(path.is_file() for path in files.values()):
                return files
    return None


def _how(entry: ZooEntry) -> str:
    if entry.packaged:
        return "comes with crosscam"
    if any(variant.downloadable for variant in entry.variants):
        return "download"
    if entry.export is not None:
        return f"export (extra {entry.export.extra})"
    return f"put {entry.variants[0].files[0].name} into {MODELS_ENV}"


def _import(entry: ZooEntry, files: dict[str, Path]) -> Bundle:
    """Make (once) a bundle of known plain files, under a name that follows from their content."""
    published = {file.name: file.sha256 for v in entry.variants for file in v.files}
    digest = hashlib.sha256()
    for name, path in files.items():
        found = sha256_file(path)
        digest.update(f"{name} {found}\n".encode())
        if published.get(name) not in (None, found):
            _log.info("not the published file, taken as given", file=str(path), sha256=found)
    digest.update(entry.model_dump_json().encode())
    target = cache_dir() / "imports" / f"{_bundle_name(entry)}-{digest.hexdigest()[:16]}"
    if target.is_dir():
        try:
            return load_bundle(target)
        except InputError as error:
            _log.warning("damaged import made anew", path=str(target), reason=str(error))
            shutil.rmtree(target, ignore_errors=True)
    return _pack(entry, files, target)


def _pack(entry: ZooEntry, files: dict[str, Path], target: Path) -> Bundle:
    assert entry.preprocessing is not None
    return pack(
        target,
        name=_bundle_name(entry),
        task=entry.task,
        files=files,
        preprocessing=entry.preprocessing,
        decoder=entry.decoder,
        licence=entry.licence,
        source=entry.source,
        training=entry.training,
        accuracy=entry.accuracy,
    )


def _obtain(entry: ZooEntry, *, progress: bool) -> Bundle:
    variant: Variant | None = next((v for v in entry.variants if v.downloadable), None)
    if variant is not None:
        from crosscam_deploy.zoo.download import fetch

        folder = cache_dir() / "downloads" / _bundle_name(entry)
        files = {
            file.name: fetch(file, folder / file.name, progress=progress) for file in variant.files
        }
        return _pack(entry, files, cache_dir() / "models" / _bundle_name(entry))
    if entry.export is not None:
        from crosscam_deploy.export import export_entry

        return export_entry(entry, cache_dir() / "models" / _bundle_name(entry), progress=progress)
    if entry.packaged:
        raise InputError(
            f"the model {entry.name}, which comes with crosscam, is missing",
            expected=f"its bundle in {packaged_dir()}",
            fix="install crosscam again",
        )
    name = entry.variants[0].files[0].name
    raise InputError(
        f"{entry.name} is published nowhere as a file that crosscam could download",
        expected=f"{name} in a folder of {MODELS_ENV}",
        fix=f"put {name} into a folder and set {MODELS_ENV} to it",
    )
