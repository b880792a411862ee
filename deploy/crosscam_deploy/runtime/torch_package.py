"""Packages of AOTInductor: a program compiled for this machine's device, kept in the cache.

A package holds machine code. So none is ever part of a bundle, and one is loaded only when this
machine made it (`sealed`). What was copied from elsewhere, is of another torch, device or graph, or
was changed, is compiled anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import cache_dir
from crosscam_deploy.runtime import sealed
from crosscam_deploy.runtime.torch_compile import compile_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.runtime.torch_program import Source

_log = get_logger("torch")
_PACKAGE = "package.pt2"


def about(torch: Any, source: Source, device: str) -> dict[str, str]:
    """Return everything that a package depends on.

    Args:
        torch: The module.
        source: What it is compiled from.
        device: ``"cpu"`` or ``"cuda"``.
    """
    known = {
        "graph_sha256": source.sha256,
        "outputs": " ".join(source.outputs),
        "size": "x".join(map(str, source.size)),
        "torch": str(torch.__version__),
        "device": device,
    }
    if device == "cpu":
        # compiled for exactly this processor (-march=native)
        return known | {"name": _processor(), "capability": torch.backends.cpu.get_cpu_capability()}
    major, minor = torch.cuda.get_device_capability()
    return known | {
        "name": torch.cuda.get_device_name(),
        "capability": f"{major}.{minor}",
        "cuda": str(torch.version.cuda),
    }


def _processor() -> str:
    """Return the processor's name and what it can do, as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return f"{platform.machine()} {platform.processor()}"
    told = ("model name", "flags", "Features", "CPU part")
    words = sorted({line for line in lines if line.startswith(told)})
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


@contextlib.contextmanager
def package(torch: Any, source: Source, device: str) -> Iterator[Path]:
    """Give the file of a package, compiled where the cache has none: a minute or more.

    The file is a private copy of what was checked; it may be deleted once it is loaded.

    Raises:
        InputError: See `make_program`.
        RunError: There is no compiler, or it failed.
    """
    facts = about(torch, source, device)
    folder = cache_dir() / "torch" / sealed.name_of(facts)
    with tempfile.TemporaryDirectory(prefix="crosscam-torch-") as private:
        copy = Path(private) / folder.name
        if not _load(folder, copy, facts):
            _log.info("compiling", model=source.name, device=device)
            copy.mkdir(0o700)
            compile_apart(source, device, copy / _PACKAGE)
            _keep(folder, copy, facts)
        yield copy / _PACKAGE


def _load(folder: Path, copy: Path, facts: dict[str, str]) -> bool:
    """Copy a kept package to where nobody else writes, and look whether it is this machine's."""
    if not folder.is_dir():
        return False
    shutil.copytree(folder, copy, symlinks=True)
    if sealed.is_sealed(copy, facts):
        return True
    _log.warning("a compiled program that this machine did not make is not used", at=str(folder))
    shutil.rmtree(copy)
    return False


def _keep(folder: Path, copy: Path, facts: dict[str, str]) -> None:
    """Keep a package; a cache that cannot be written only costs time, so it is logged."""
    try:
        sealed.seal(copy, facts)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent))  # for this user only
        try:
            shutil.copytree(copy, staging / "new")
            shutil.rmtree(folder, ignore_errors=True)
            (staging / "new").rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        _log.info("compiled program not kept", at=str(folder), error=str(error))
