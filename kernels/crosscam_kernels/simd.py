"""Which instruction set the native operators use."""

from __future__ import annotations

import functools
import os

from crosscam_kernels import _native
from crosscam_kernels.errors import UsageError

ENVIRONMENT_VARIABLE = "CROSSCAM_SIMD"


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
