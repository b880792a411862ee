"""The process that compiles: imports torch and Triton once, then forks for every kernel.

LLVM ends the process with ``abort()`` on some errors (an architecture unknown to the pinned PTX
version, for one), and ptxas may crash: each compilation therefore runs in a child of its own, whose
death costs nothing but its kernel. A kernel that ptxas spilled is compiled once more with all the
registers that its block can have: ptxas spills a few bytes on purpose where that lets one more
block run on a multiprocessor, a bargain that nobody here can judge without a device. Jobs come as
lines of JSON on standard input, answers leave as lines of JSON on standard output.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosscam_kernels.aot.architectures import Architecture, architecture
from crosscam_kernels.aot.listings import read_ptxas_log
from crosscam_kernels.aot.registry import load_kernels
from crosscam_kernels.aot.spec import KernelSpec

# Triton: no line numbers (a third of the size), the log of ptxas, and nothing out of a cache, where
# there would be no log. A kernel decorated under the interpreter cannot be compiled.
ENVIRONMENT = {
    "TRITON_ALWAYS_COMPILE": "1",
    "TRITON_DISABLE_LINE_INFO": "1",
    "TRITON_DUMP_PTXAS_LOG": "1",
}
UNSET = ("TRITON_INTERPRET", "TRITON_DEBUG", "TRITON_PTXAS_PATH", "PTXAS_OPTIONS")

REGISTERS = 65536  # of a multiprocessor, on every architecture there is


def compile_kernel(spec: KernelSpec, target: Architecture, registers: int | None = None) -> Any:
    """Compiles in this process and returns Triton's compiled kernel. Prints the log of ptxas.

    Args:
        spec: The kernel.
        target: What it is compiled for.
        registers: Most registers of a thread, written into the PTX as ``.maxnreg``; None leaves
            their number to ptxas.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: spec.parameter_type(name) for name in spec.signature}
    names = list(spec.fn.arg_names)
    constants = {
        name: spec.constexprs[name] if name in spec.constexprs else _default(spec, name)
        for name in names
        if name not in types
    }
    source = ASTSource(
        fn=spec.fn,
        signature={name: types[name][0] if name in types else "constexpr" for name in names},
        constexprs=constants,
        attrs={
            (position,): [["tt.divisibility", 16]]
            for position, name in enumerate(names)
            if name in types and types[name][1] == 16
        },
    )
    options = {
        "num_warps": spec.num_warps,
        "num_stages": spec.num_stages,
        "enable_fp_fusion": spec.enable_fp_fusion,
        "ptx_version": target.ptx_version,
        "maxnreg": registers,
    }
    return triton.compile(source, target=GPUTarget("cuda", target.capability, 32), options=options)


def _default(spec: KernelSpec, name: str) -> Any:
    for parameter in spec.fn.params:
        if parameter.name == name and parameter.is_constexpr and parameter.has_default:
            return parameter.default
    raise ValueError(f"parameter {name!r} is neither in signature nor in constexprs")


def _compile_in_child(
    spec: KernelSpec, target: Architecture, folder: Path, log: Path, registers: int | None
) -> None:
    """Writes ``<name>.<arch>.{ptx,cubin,json}``; never returns."""
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # Python's own streams may hold a buffer that belongs to the parent.
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        compiled = compile_kernel(spec, target, registers)
        stem = f"{spec.name}.{target.name}"
        (folder / f"{stem}.ptx").write_text(compiled.asm["ptx"], encoding="utf-8")
        (folder / f"{stem}.cubin").write_bytes(compiled.asm["cubin"])
        metadata = compiled.metadata
        facts = {
            "shared_bytes": metadata.shared,
            "global_scratch_bytes": metadata.global_scratch_size,
            "profile_scratch_bytes": metadata.profile_scratch_size,
        }
        (folder / f"{stem}.json").write_text(json.dumps(facts), encoding="utf-8")
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def run_job(spec: KernelSpec, target: Architecture, folder: Path) -> dict[str, Any]:
    """Compiles in a child process, and once more in another where registers were spilled.

    Returns:
        ``{"log": str, "error": str}``; the error is empty when the files were written.
    """
    first = _attempt(spec, target, folder, None)
    if first["error"] or not _spills(first["log"]):
        return first
    with tempfile.TemporaryDirectory(prefix="crosscam-aot-") as scratch:
        second = _attempt(spec, target, Path(scratch), most_registers(spec.num_warps))
        if second["error"] or _spills(second["log"]):
            return first
        for path in Path(scratch).iterdir():
            shutil.move(path, folder / path.name)
    return second


def most_registers(num_warps: int) -> int:
    """Registers that each thread of a block can have: 65536 for all, at most 255 for one."""
    return min(REGISTERS // (32 * num_warps), 255)


def _spills(log: str) -> bool:
    found = read_ptxas_log(log)
    return found.stack_bytes + found.spill_store_bytes + found.spill_load_bytes > 0


def _attempt(
    spec: KernelSpec, target: Architecture, folder: Path, registers: int | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="crosscam-aot-") as scratch:
        os.environ["TRITON_CACHE_DIR"] = scratch
        log = Path(scratch) / "log"
        child = os.fork()
        if child == 0:
            _compile_in_child(spec, target, folder, log, registers)
        _, status = os.waitpid(child, 0)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return {"log": text, "error": f"the compiler died of {name}"}
    return {"log": text, "error": "the compiler failed" if os.WEXITSTATUS(status) else ""}


def _plain(value: Any) -> Any:
    """A constant as the manifest shows it; `tl.float16` and the like by their names."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def serve(modules: Sequence[str] | None) -> None:
    """Answers with the kernels there are, then with one line for each job until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    kernels = load_kernels(modules)
    import triton

    described = {
        name: {
            "module": module,
            "plugin": spec.plugin,
            "parameters": [
                {"name": parameter, "type": kind, "divisible_by": hint}
                for parameter in spec.fn.arg_names
                if parameter in spec.signature
                for kind, hint in [spec.parameter_type(parameter)]
            ],
            "constants": {name: _plain(value) for name, value in spec.constexprs.items()},
            "num_warps": spec.num_warps,
            "num_stages": spec.num_stages,
            "enable_fp_fusion": spec.enable_fp_fusion,
            "architectures": list(spec.architectures),
        }
        for name, (module, spec) in kernels.items()
    }
    print(
        json.dumps({"triton_version": triton.__version__, "kernels": described}),
        file=answers,
        flush=True,
    )
    for line in sys.stdin:
        job = json.loads(line)
        answer = run_job(
            kernels[job["kernel"]][1], architecture(job["architecture"]), Path(job["folder"])
        )
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
