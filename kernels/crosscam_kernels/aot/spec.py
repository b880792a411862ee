"""What a family of GPU kernels says about each kernel that is to be compiled ahead of time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosscam_kernels.errors import UsageError

Constant = bool | int | float | str | None
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TYPE = re.compile(
    r"(?P<type>\*?(?:i1|[iu](?:8|16|32|64)|fp(?:16|32|64)|bf16|fp8e4nv|fp8e5))(?::(?P<hint>16))?"
)
_PLUGIN_SCALARS = ("i8", "i16", "i32")


@dataclass(frozen=True)
class KernelSpec:
    """One Triton kernel with everything that is fixed at compile time.

    A module ``crosscam_kernels.gpu.<family>`` lists its own in ``AOT_KERNELS``, and is found by
    that name; there is nothing else to register.

    Attributes:
        name: Unique over all families; names the files and the entry of the manifest. Begin with
            the operator and end with what is fixed: ``"normalise_quantise_fp16_1024"``.
        fn: The function decorated with ``triton.jit``.
        signature: Type of each parameter that is not a constexpr, in Triton's spelling: ``"*fp16"``
            a pointer, ``"i32"`` a number. ``":16"`` after it promises a multiple of 16 (bytes for a
            pointer), without which loads are not vectorised: write ``"*fp16:16"`` for all pointers
            that come from an allocator.
        constexprs: Value of each constexpr parameter that has no default.
        num_warps: Warps per program; the block has ``32 * num_warps`` threads.
        num_stages: Depth of software pipelines.
        plugin: Meant for a TensorRT ahead-of-time plugin: at most 48 KB of shared memory, and the
            parameters are inputs, then 32-bit integers, then outputs.
        enable_fp_fusion: Whether ``a * b + c`` may be rounded once.
        architectures: Names of the only architectures to compile for; empty for all.
    """

    name: str
    fn: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Constant]
    num_warps: int = 4
    num_stages: int = 3
    plugin: bool = False
    enable_fp_fusion: bool = True
    architectures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"kernel name {self.name!r}", expected="lower-case letters, digits and underscores"
            )
        for parameter in self.signature:
            kind, _ = self.parameter_type(parameter)
            if self.plugin and not kind.startswith("*") and kind not in _PLUGIN_SCALARS:
                raise UsageError(
                    f"plugin kernel {self.name!r} takes {parameter!r} as {kind}",
                    expected="only pointers and integers of at most 32 bits",
                    fix="make it a constexpr, or a tensor of one element",
                )
        both = sorted(self.signature.keys() & self.constexprs.keys())
        if both:
            raise UsageError(
                f"kernel {self.name!r}: {', '.join(both)} in both signature and constexprs",
                expected="each parameter in one of them",
            )
        if self.num_warps < 1 or self.num_warps & (self.num_warps - 1):
            raise UsageError(
                f"kernel {self.name!r} has num_warps={self.num_warps}", expected="a power of two"
            )

    def parameter_type(self, parameter: str) -> tuple[str, int]:
        """Returns type and divisibility (16, or 1 when nothing is promised) of a parameter.

        Raises:
            UsageError: The signature does not spell a type of Triton.
        """
        match = _TYPE.fullmatch(self.signature[parameter])
        if match is None:
            raise UsageError(
                f"kernel {self.name!r}: {parameter!r} has type {self.signature[parameter]!r}",
                expected="a type of Triton such as '*fp16', '*fp16:16' or 'i32'",
            )
        return match["type"], int(match["hint"] or 1)
