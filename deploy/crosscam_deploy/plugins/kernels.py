"""PTX that was compiled ahead of time, checked for what TensorRT will do with it.

TensorRT takes the text, the name of a function, a grid and a block, and launches with the inputs'
addresses, then 32-bit integers, then the outputs' addresses. It looks at none of it: what does not
fit ends in a crash, or in wrong results, at the first inference. So all of it is looked at here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscam_kernels.aot.listings import PtxFacts, read_ptx
from crosscam_kernels.aot.manifest import read_manifest
from crosscam_kernels.aot.plugin_ptx import without_hidden_parameters
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_kernels.aot.manifest import Binary, Kernel

MOST_SHARED = 48 * 1024
"""Bytes of shared memory that a block has without asking the driver for more, which TensorRT does
not say that it does."""

_PTX_OF_CUDA = {
    (12, 0): "8.0", (12, 1): "8.1", (12, 2): "8.2", (12, 3): "8.3", (12, 4): "8.4",
    (12, 5): "8.5", (12, 6): "8.5", (12, 7): "8.6", (12, 8): "8.7", (12, 9): "8.8",
    (13, 0): "9.0", (13, 1): "9.1",
}  # fmt: skip
"""Newest PTX of each driver (PTX ISA, release notes)."""


def newest_ptx(driver: str) -> str:
    """Return the newest version of PTX that a driver reads.

    Args:
        driver: Highest CUDA version of the driver, as `Device.driver` has it: ``"12.6"``.

    Raises:
        UsageError: The driver is older than CUDA 12.
    """
    version = _numbers(driver)
    known = [cuda for cuda in _PTX_OF_CUDA if cuda <= version]
    if not known:
        raise UsageError(
            f"the driver is one of CUDA {driver}",
            expected="CUDA 12.0 or later, for crosscam's kernels",
            fix="update the driver, or build the engine without plugins",
        )
    return _PTX_OF_CUDA[max(known)]


@dataclass(frozen=True, slots=True)
class PluginKernel:
    """A kernel as TensorRT launches it.

    Attributes:
        name: In the manifest of compiled kernels.
        entry: Name of the function in the PTX.
        ptx: The module, without the parameters that Triton hides behind the outputs.
        block_threads: Threads of a block, the only number that the kernel runs with.
        shared_bytes: Dynamic shared memory of a block.
        scalars: Names of the integers between inputs and outputs, in order.
        constants: What was fixed when it was compiled: sizes of tiles, for one.
    """

    name: str
    entry: str
    ptx: str
    block_threads: int
    shared_bytes: int
    scalars: tuple[str, ...]
    constants: dict[str, bool | int | float | str | None]

    def size(self, constant: str) -> int:
        """Return a constant that is a size.

        Raises:
            InputError: The kernel has no such constant.
        """
        value = self.constants.get(constant)
        if not isinstance(value, int):
            raise InputError(
                f"the kernel {self.name} was compiled with {constant}={value!r}", expected="a size"
            )
        return value


class PluginKernels:
    """The kernels of a folder for one architecture.

    Args:
        folder: Output of ``python -m crosscam_kernels.aot``.
        architecture: As ``"sm_87"``.
        driver: Highest CUDA version of the driver that will load the engine, as ``"12.6"``; None
            when that is not known, which leaves the version of the PTX unchecked.

    Raises:
        InputError: There are no compiled kernels in the folder.
    """

    def __init__(self, folder: Path, architecture: str, *, driver: str | None = None) -> None:
        self._folder, self.architecture = folder, architecture
        self._newest = None if driver is None else newest_ptx(driver)
        self._kernels = {kernel.name: kernel for kernel in read_manifest(folder).kernels}

    def get(self, name: str, *, inputs: int, outputs: int) -> PluginKernel:
        """Return a kernel that passes all checks.

        Args:
            name: Of the kernel.
            inputs: Tensors that TensorRT will pass first.
            outputs: Tensors that it will pass last.

        Raises:
            UsageError: The kernel was not compiled, or not for this architecture.
            InputError: The file was changed, or the kernel cannot be launched by TensorRT.
        """
        kernel, binary = self._find(name)
        content = (self._folder / binary.ptx.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != binary.ptx.sha256:
            raise InputError(
                f"{binary.ptx.path} is damaged or was replaced",
                expected=f"sha256 {binary.ptx.sha256}",
                fix="compile anew with python -m crosscam_kernels.aot",
            )
        text = content.decode()
        facts = read_ptx(text)
        problems = [
            *_disagreements(kernel, binary, facts),
            *_launch_problems(kernel, binary, facts, inputs, outputs),
            *self._version_problems(facts),
        ]
        if problems:
            raise InputError(
                f"the kernel {name} for {self.architecture} cannot be a plugin: "
                + "; ".join(problems),
                fix="compile with the crosscam that is installed here, or use no plugins",
            )
        names = tuple(parameter.name for parameter in kernel.parameters)
        return PluginKernel(
            name=name,
            entry=binary.entry,
            ptx=without_hidden_parameters(text, binary.hidden_parameters),
            block_threads=binary.block_threads,
            shared_bytes=binary.shared_bytes,
            scalars=names[inputs : len(names) - outputs],
            constants=dict(kernel.constants),
        )

    def _find(self, name: str) -> tuple[Kernel, Binary]:
        kernel = self._kernels.get(name)
        found = [
            binary
            for binary in (kernel.binaries if kernel else ())
            if binary.architecture == self.architecture
        ]
        if kernel is None or not found:
            raise UsageError(
                f"{self._folder} has no kernel {name} for {self.architecture}",
                fix=f"python -m crosscam_kernels.aot --out {self._folder} --kernel {name} "
                f"--arch {self.architecture}",
            )
        return kernel, found[0]

    def _version_problems(self, facts: PtxFacts) -> list[str]:
        if self._newest is None or _numbers(facts.version) <= _numbers(self._newest):
            return []
        return [f"its PTX is version {facts.version}, and the driver reads up to {self._newest}"]


def _disagreements(kernel: Kernel, binary: Binary, facts: PtxFacts) -> list[str]:
    """What the PTX says otherwise than the manifest."""
    pairs = {
        "target": (facts.target, binary.target),
        "entry": (facts.entry, binary.entry),
        "version": (facts.version, binary.ptx_version),
        "block": (facts.block_threads, binary.block_threads),
        "number of parameters": (
            len(facts.parameters),
            len(kernel.parameters) + binary.hidden_parameters,
        ),
    }
    return [
        f"its {what} is {found} in the PTX and {said} in the manifest"
        for what, (found, said) in pairs.items()
        if found != said
    ]


def _launch_problems(
    kernel: Kernel, binary: Binary, facts: PtxFacts, inputs: int, outputs: int
) -> list[str]:
    """What TensorRT would do wrong with it."""
    problems = []
    if not kernel.plugin:
        problems.append("it was not written for plugins")
    pointers = [parameter.type.startswith("*") for parameter in kernel.parameters]
    scalars = len(pointers) - inputs - outputs
    if pointers != [True] * inputs + [False] * scalars + [True] * outputs:
        kinds = ", ".join(parameter.type for parameter in kernel.parameters)
        problems.append(
            f"its parameters are {kinds}, not {inputs} inputs, integers, {outputs} outputs"
        )
    declared = facts.parameters[: len(pointers)]
    if declared != tuple(".u64" if pointer else ".u32" for pointer in pointers):
        problems.append(f"its PTX declares {', '.join(declared)}")
    if binary.block_threads != 32 * kernel.num_warps:
        problems.append(f"its block has {binary.block_threads} threads, not 32 a warp")
    if binary.shared_bytes > MOST_SHARED:
        problems.append(f"it needs {binary.shared_bytes} bytes of shared memory of {MOST_SHARED}")
    if binary.global_scratch_bytes or binary.profile_scratch_bytes:
        problems.append("it needs scratch memory, which TensorRT has none of")
    return problems


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
