"""Checks of the Python packages: dependencies, extras, and who owns ``cv2``."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING

from crosscam_deploy.health.check import Check, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

_AREA = "packages"
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")
_EXTRAS = {
    "yolo": "export of ultralytics detectors (AGPL-3.0)",
    "train": "training, and export of CLIP towers",
    "tensorrt": "engines for NVIDIA GPUs",
    "scale": "brokers, databases and clusters",
}


def checks() -> Iterator[Check]:
    """Yield the findings about packages."""
    try:
        requirements = metadata.requires("crosscam") or []
    except metadata.PackageNotFoundError:
        fix = "pip install crosscam (or `pip install -e .` in a clone)"
        yield Check(_AREA, "crosscam", Status.PROBLEM, "is not installed as a package", fix)
        return
    yield _core([r for r in requirements if not _EXTRA.search(r)])
    for extra, purpose in _EXTRAS.items():
        wanted = [r for r in requirements if extra in _EXTRA.findall(r)]
        yield _extra(extra, purpose, wanted)
    yield _owners_of_cv2()


def _core(requirements: list[str]) -> Check:
    version = metadata.version("crosscam")
    # a requirement with a marker is not for every platform (OpenVINO): the engines report on it
    missing = [_name(r) for r in requirements if ";" not in r and not _installed(_name(r))]
    if missing:
        found = f"crosscam {version} lacks {', '.join(missing)}"
        return Check(
            _AREA, "dependencies", Status.PROBLEM, found, f"pip install {' '.join(missing)}"
        )
    return Check(_AREA, "dependencies", Status.OK, f"crosscam {version}, all there")


def _extra(extra: str, purpose: str, requirements: list[str]) -> Check:
    missing = [_name(r) for r in requirements if not _installed(_name(r))]
    if not missing:
        return Check(_AREA, f"extra {extra}", Status.OK, f"installed: {purpose}")
    found = f"not installed ({', '.join(missing)}): {purpose}"
    return Check(_AREA, f"extra {extra}", Status.INFO, found, f"pip install 'crosscam[{extra}]'")


def _owners_of_cv2() -> Check:
    names = [
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ]
    owners = [f"{name} {metadata.version(name)}" for name in names if _installed(name)]
    try:
        import cv2

        found = f"cv2 {cv2.__version__} from {' and '.join(owners) or 'an unknown package'}"
    except ImportError as error:
        fix = "pip uninstall -y opencv-python opencv-python-headless; "
        fix += "pip install opencv-python-headless"
        return Check(_AREA, "OpenCV", Status.PROBLEM, f"cv2 does not load ({error})", fix)
    if len(owners) > 1:
        others = " ".join(o.split()[0] for o in owners)
        fix = f"keep one: pip uninstall -y {others}; pip install opencv-python-headless"
        found += ": they overwrite each other's files"
        return Check(_AREA, "OpenCV", Status.WARNING, found, fix)
    return Check(_AREA, "OpenCV", Status.OK, found)


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match.group(0) if match else requirement


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
