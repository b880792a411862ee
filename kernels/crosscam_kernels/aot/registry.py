"""Finding the kernels that families offer for ahead-of-time compilation."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from crosscam_kernels import gpu
from crosscam_kernels.aot.spec import KernelSpec
from crosscam_kernels.errors import MissingExtraError, UsageError


def family_modules() -> tuple[str, ...]:
    """Names of the modules in `crosscam_kernels.gpu`, without importing them."""
    names = (module.name for module in pkgutil.iter_modules(gpu.__path__))
    return tuple(sorted(f"{gpu.__name__}.{name}" for name in names if not name.startswith("_")))


def require_triton() -> None:
    """Checks that torch and Triton are installed.

    Raises:
        MissingExtraError: One of them is not.
    """
    if find_spec("triton") is None or find_spec("torch") is None:
        raise MissingExtraError("compilation of GPU kernels", "train")


def load_kernels(modules: Sequence[str] | None = None) -> dict[str, tuple[str, KernelSpec]]:
    """Imports families and collects their ``AOT_KERNELS``. Imports torch and Triton.

    Args:
        modules: Names of modules; None for every family.

    Returns:
        Module and specification by name of the kernel, in order of name.

    Raises:
        MissingExtraError: torch or Triton is not installed.
        UsageError: Two kernels have the same name, or a given module offers no list.
    """
    require_triton()
    kernels: dict[str, tuple[str, KernelSpec]] = {}
    for module in family_modules() if modules is None else modules:
        offered = getattr(import_module(module), "AOT_KERNELS", None)
        if offered is None:
            if modules is None:
                continue  # helpers that several families share
            raise UsageError(
                f"module {module} has no AOT_KERNELS",
                expected="a list of crosscam_kernels.aot.KernelSpec",
            )
        for spec in offered:
            if spec.name in kernels:
                raise UsageError(
                    f"kernel {spec.name!r} is in {kernels[spec.name][0]} and in {module}",
                    expected="names that are unique over all families",
                )
            kernels[spec.name] = (module, spec)
    return dict(sorted(kernels.items()))
