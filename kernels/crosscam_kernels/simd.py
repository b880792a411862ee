"""Which instruction set the native operators use."""

from __future__ import annotations

import functools
import os

from crosscam_kernels import _native
from crosscam_kernels.errors import UsageError

ENVIRONMENT_VARIABLE = "CROSSCAM_SIMD"
DOT_VARIABLE = "CROSSCAM_DOT"


@functools.cache
def simd_levels() -> tuple[str, ...]:
    """Instruction sets this processor can run, best first.

    Returns:
        Some of ``"avx512"``, ``"avx2"``, ``"neon"``, and always ``"scalar"`` last.
    """
    return tuple(_native.simd_levels())


def simd_level() -> str:
    """Instruction set in use: the best one, or the one forced by ``CROSSCAM_SIMD``.

    The variable is read at every call. Results do not depend on the level, only speed does.

    Raises:
        UsageError: ``CROSSCAM_SIMD`` names a level that is unknown or cannot run here.
    """
    forced = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if not forced:
        return simd_levels()[0]
    if forced not in simd_levels():
        raise UsageError(
            f"{ENVIRONMENT_VARIABLE}={forced!r} is not an instruction set of this machine",
            expected="one of " + ", ".join(simd_levels()),
            fix=f"unset {ENVIRONMENT_VARIABLE} to use the best one",
        )
    return forced


def dot_products() -> bool:
    """Whether dot-product instructions beyond the level (AVX512-BF16, VNNI, ASIMDDP) may be used.

    They are used where the processor has them unless ``CROSSCAM_DOT=0``, which is read at every
    call. Results do not depend on it, only speed does.

    Raises:
        UsageError: ``CROSSCAM_DOT`` is neither 0 nor 1.
    """
    value = os.environ.get(DOT_VARIABLE, "1")
    if value not in ("0", "1"):
        raise UsageError(f"{DOT_VARIABLE}={value!r}", expected="0 or 1")
    return value == "1"
