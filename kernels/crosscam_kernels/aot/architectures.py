"""The GPU architectures that kernels are compiled for."""

from __future__ import annotations

from dataclasses import dataclass

from crosscam_kernels.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """One target of the compiler.

    Attributes:
        name: ``"sm_90"``; the suffix of architecture-specific code (``sm_90a``) is not part of it.
        capability: Compute capability times ten, as Triton counts it: 90.
        ptx_version: PTX ISA version times ten. It bounds the oldest driver that can load the PTX
            (8.0: CUDA 12.0, 8.6: 12.7, 8.7: 12.8, 9.0: 13.0). Triton's default follows its bundled
            ptxas and is newer than the drivers in the field. LLVM aborts the *process* when the
            architecture is not in that version of the ISA.
        shared_kib: Most shared memory of one block, KiB (CUDA C++ Programming Guide, table of
            technical specifications per compute capability).
        devices: Examples, for people.
    """

    name: str
    capability: int
    ptx_version: int
    shared_kib: int
    devices: str


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("sm_80", 80, 80, 163, "A100, A30"),
        Architecture("sm_86", 86, 80, 99, "A10, A40, RTX 30"),
        Architecture("sm_87", 87, 80, 163, "Jetson Orin"),
        Architecture("sm_89", 89, 80, 99, "L4, L40, RTX 40"),
        Architecture("sm_90", 90, 80, 227, "H100, H200"),
        Architecture("sm_100", 100, 86, 227, "B200"),
        Architecture("sm_110", 110, 90, 227, "Jetson Thor"),
        Architecture("sm_120", 120, 87, 99, "RTX 50, RTX PRO Blackwell"),
    )
}


def architecture(name: str) -> Architecture:
    """Returns the architecture called `name`.

    Raises:
        UsageError: There is no such architecture.
    """
    if name not in ARCHITECTURES:
        raise UsageError(
            f"{name!r} is not an architecture that kernels are compiled for",
            expected="one of " + ", ".join(ARCHITECTURES),
        )
    return ARCHITECTURES[name]
