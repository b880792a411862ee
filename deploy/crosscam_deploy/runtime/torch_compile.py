"""AOTInductor in a process of its own: ``python -m crosscam_deploy.runtime.torch_compile FOLDER``.

The compiler keeps what it made before, pickled, in a folder of a known name under ``/tmp``. In its
own process it is given an empty folder instead, and leaves no threads, memory or settings behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_deploy.runtime.torch_program import Source, import_torch, make_program
from crosscam_kernels.errors import CrosscamError, InputError, RunError

if TYPE_CHECKING:
    from typing import Any

_MODULE = "crosscam_deploy.runtime.torch_compile"
_LIMIT_S = 1800.0
_LAST_WORDS = 500
_ASKED, _GRAPH, _MADE, _SAID = "asked.json", "graph.onnx", "package.pt2", "error.json"


def compile_apart(source: Source, device: str, target: Path) -> None:
    """Compile a program for a device of this machine.

    Args:
        source: What the program is made from.
        device: ``"cpu"`` or ``"cuda"``.
        target: Where the package is written.

    Raises:
        InputError: See `make_program`.
        RunError: There is no compiler, it failed, or it took more than half an hour.
    """
    if compiler() is None:
        raise RunError(
            "there is no C++ compiler (g++, clang++ or what CXX names)",
            fix="apt install g++, or use --runtime torch, which compiles nothing",
        )
    with tempfile.TemporaryDirectory(prefix="crosscam-compile-") as name:
        folder = Path(name)
        (folder / _GRAPH).write_bytes(source.graph)
        asked = {
            "name": source.name,
            "outputs": source.outputs,
            "size": source.size,
            "batch": source.batch,
            "device": device,
        }
        (folder / _ASKED).write_text(json.dumps(asked), encoding="utf-8")
        environment = os.environ | {
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
            "TRITON_CACHE_DIR": str(folder / "triton"),
        }
        try:
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-P", "-m", _MODULE, name],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunError(
                f"{source.name} was not compiled for {device} within {_LIMIT_S / 60:g} minutes",
                fix="use --runtime torch, which compiles nothing",
            ) from None
        if done.returncode != 0:
            raise _error(source, device, folder / _SAID, done)
        shutil.copyfile(folder / _MADE, target)


def compiler() -> str | None:
    """Return the C++ compiler that AOTInductor would take; programs for GPUs need one, too."""
    named = (os.environ.get("CXX"), "g++", "clang++")
    return next((found for name in named if name and (found := shutil.which(name))), None)


def _error(
    source: Source, device: str, said: Path, done: subprocess.CompletedProcess[bytes]
) -> CrosscamError:
    """Return what the other process ended with."""
    if said.is_file():
        words = json.loads(said.read_text(encoding="utf-8"))
        kind = InputError if words.pop("input") else RunError
        return kind(**words)
    last = done.stderr.decode(errors="replace").strip()[-_LAST_WORDS:]
    return RunError(
        f"{source.name} was not compiled for {device} (status {done.returncode}): {last}",
        fix="use --runtime torch, which compiles nothing",
    )


def main(folder: Path) -> int:
    """Compile what the folder asks for."""
    asked = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
    source = Source(
        name=asked["name"],
        graph=(folder / _GRAPH).read_bytes(),
        outputs=tuple(asked["outputs"]),
        size=(asked["size"][0], asked["size"][1]),
        batch=asked["batch"],
    )
    try:
        _compile(import_torch(), source, asked["device"], folder / _MADE)
    except CrosscamError as error:
        words: dict[str, Any] = {
            "input": isinstance(error, InputError),
            "found": error.found,
            "expected": error.expected,
            "fix": error.fix,
        }
        (folder / _SAID).write_text(json.dumps(words), encoding="utf-8")
        return 1
    return 0


def _compile(torch: Any, source: Source, device: str, target: Path) -> None:
    from torch.export.passes import move_to_device_pass

    exported = make_program(source)
    if device != "cpu":
        exported = move_to_device_pass(exported, device)
    # The number of threads is otherwise written into the code, as it is while compiling.
    settings = {"cpp.dynamic_threads": True}
    try:
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(
                exported, package_path=str(target), inductor_configs=settings
            )
    except Exception as error:  # any of torch's, and the compiler's
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise RunError(
            f"AOTInductor cannot compile {source.name} for {device} "
            f"({type(error).__name__}: {lines[0][:300]})",
            fix="use --runtime torch, which compiles nothing",
        ) from error


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
