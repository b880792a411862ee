"""Compiling every kernel for every architecture."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from crosscam_kernels.aot.architectures import ARCHITECTURES, architecture
from crosscam_kernels.aot.listings import read_ptx, read_ptxas_log
from crosscam_kernels.aot.manifest import (
    MANIFEST_NAME,
    Binary,
    File,
    Kernel,
    Manifest,
    Parameter,
    write_manifest,
)
from crosscam_kernels.aot.registry import require_triton
from crosscam_kernels.aot.workers import Worker
from crosscam_kernels.errors import RunError, UsageError

Progress = Callable[[int, int, str], None]


def compile_kernels(
    out: Path,
    *,
    architectures: Sequence[str] | None = None,
    kernels: Sequence[str] | None = None,
    modules: Sequence[str] | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Manifest:
    """Compiles Triton kernels to PTX and cubins and describes them in ``manifest.json``.

    Each compilation runs in a process of its own. Needs no GPU and no driver.

    Args:
        out: Folder of the output, made when missing: ``<kernel>.<architecture>.ptx`` and
            ``.cubin``, and the manifest.
        architectures: Names such as ``"sm_90"``; None for all of `ARCHITECTURES`.
        kernels: Names of kernels; None for all.
        modules: Modules that list kernels in ``AOT_KERNELS``; None for ``crosscam_kernels.gpu.*``.
        jobs: Number of compilations at a time; each takes about 400 MB of memory.
        progress: Called with (done, total, name of what was compiled) after each compilation.

    Returns:
        The manifest that was written.

    Raises:
        MissingExtraError: Triton is not installed.
        UsageError: A name is unknown, or there is nothing to compile.
        RunError: A kernel does not compile; no manifest is written.
    """
    targets = [architecture(name) for name in architectures or ARCHITECTURES]
    if jobs < 1:
        raise UsageError(f"jobs={jobs}", expected="at least 1")
    require_triton()
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST_NAME).unlink(missing_ok=True)  # it would describe files that are being replaced
    with _workers(modules, jobs) as (first, rest):
        offered = first.kernels
        unknown = sorted(set(kernels or ()) - offered.keys())
        if unknown:
            raise UsageError(
                f"no kernel is called {', '.join(unknown)}",
                expected="some of " + ", ".join(offered),
            )
        names = [name for name in offered if kernels is None or name in kernels]
        plan = [
            (name, target.name)
            for name in names
            for target in targets
            if not offered[name]["architectures"] or target.name in offered[name]["architectures"]
        ]
        if not plan:
            raise UsageError("no kernel is to be compiled for the given architectures")
        binaries = _compile_all(plan, out, [first, *rest(min(jobs, len(plan)) - 1)], progress)
        manifest = Manifest(
            triton_version=first.triton_version,
            kernels=tuple(
                _kernel(name, offered[name], [binaries[job] for job in plan if job[0] == name])
                for name in names
                if any(job[0] == name for job in plan)
            ),
        )
    write_manifest(manifest, out)
    return manifest


@contextmanager
def _workers(
    modules: Sequence[str] | None, jobs: int
) -> Iterator[tuple[Worker, Callable[[int], list[Worker]]]]:
    """The first worker, and a function that starts more: how many is known once it has answered."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crosscam-aot-")))

        def start(number: int) -> Worker:
            errors = stack.enter_context((folder / str(number)).open("wb"))
            return stack.enter_context(Worker(modules, errors))

        def start_more(count: int) -> list[Worker]:
            return [start(number) for number in range(1, count + 1)]

        yield start(0), start_more


def _compile_all(
    plan: list[tuple[str, str]], out: Path, workers: list[Worker], progress: Progress | None
) -> dict[tuple[str, str], Binary]:
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(job: tuple[str, str]) -> Binary:
        worker = idle.get()
        try:
            log = worker.compile(*job, out)
        finally:
            idle.put(worker)
        return _binary(*job, out, log)

    binaries = {}
    with ThreadPoolExecutor(len(workers)) as pool:
        futures = {pool.submit(run, job): job for job in plan}
        try:
            for future in as_completed(futures):
                job = futures[future]
                binaries[job] = future.result()
                if progress is not None:
                    progress(len(binaries), len(plan), f"{job[0]} {job[1]}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return binaries


def _binary(name: str, target: str, folder: Path, log: str) -> Binary:
    stem = f"{name}.{target}"
    facts_path = folder / f"{stem}.json"
    facts: dict[str, int] = json.loads(facts_path.read_text(encoding="utf-8"))
    facts_path.unlink()
    ptx = read_ptx((folder / f"{stem}.ptx").read_text(encoding="utf-8"))
    return Binary(
        architecture=target,
        target=ptx.target,
        entry=ptx.entry,
        ptx_version=ptx.version,
        block_threads=ptx.block_threads,
        hidden_parameters=len(ptx.parameters),  # all of them until the signature is known
        ptx=_file(folder / f"{stem}.ptx"),
        cubin=_file(folder / f"{stem}.cubin"),
        **facts,
        **read_ptxas_log(log)._asdict(),
    )


def _kernel(name: str, described: dict[str, Any], binaries: list[Binary]) -> Kernel:
    parameters = tuple(Parameter.model_validate(entry) for entry in described["parameters"])
    counted = []
    for binary in binaries:
        hidden = binary.hidden_parameters - len(parameters)
        if hidden < 0:
            raise RunError(
                f"the PTX of {name!r} declares {binary.hidden_parameters} parameters",
                expected=f"at least the {len(parameters)} of its signature",
                fix="report this with the version of Triton",
            )
        counted.append(binary.model_copy(update={"hidden_parameters": hidden}))
    rest = {k: v for k, v in described.items() if k not in ("parameters", "architectures")}
    return Kernel(name=name, parameters=parameters, binaries=tuple(counted), **rest)


def _file(path: Path) -> File:
    content = path.read_bytes()
    return File(path=path.name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
