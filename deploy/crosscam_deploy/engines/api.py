"""TensorRT 10.7 and later, TensorRT 11 and TensorRT-RTX behind one door.

Their Python modules are nearly the same. What differs is here and in `builder`: TensorRT 11 knows
strongly typed networks only, which the others are asked for; TensorRT-RTX takes the architectures
that it shall build for, builds without a GPU, and has no timing cache.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import RunError, UsageError

Flavour = Literal["tensorrt", "tensorrt-rtx"]
_MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (10, 7), "tensorrt-rtx": (1, 0)}
_FIX: dict[Flavour, str] = {
    "tensorrt": "pip install 'crosscam[tensorrt]'; on a Jetson it comes with JetPack",
    "tensorrt-rtx": "pip install 'crosscam[tensorrt-rtx]'",
}
_MOST_WARNINGS = 1000  # different ones that are remembered
_MOST_ERRORS = 100
_log = get_logger("tensorrt")


@dataclass(frozen=True, slots=True)
class TensorRT:
    """An installed TensorRT.

    Attributes:
        flavour: Which of the two.
        module: Its Python module.
        version: As the module says.
    """

    flavour: Flavour
    module: Any
    version: str

    @property
    def major(self) -> int:
        """First number of the version: engines of one do not run on another."""
        return int(self.version.split(".")[0])

    @property
    def rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.flavour == "tensorrt-rtx"

    def builds_for(self, capability: str) -> bool:
        """Return whether it builds, without a GPU, for a compute capability such as ``"8.9"``."""
        known = getattr(self.module, "ComputeCapability", None)
        return self.rtx and hasattr(known, f"SM{capability.replace('.', '')}")

    def strongly_typed(self) -> int:
        """Return flags of a network whose precisions are those of its graph."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def ahead_of_time_plugins(self) -> int:
        """Return flags of a network that takes plugins with kernels compiled ahead of time.

        Raises:
            UsageError: This TensorRT has no such plugins.
        """
        known = self.module.NetworkDefinitionCreationFlag
        flag = getattr(known, "PREFER_AOT_PYTHON_PLUGINS", None)
        if flag is None or self.rtx:
            raise UsageError(
                f"{self.flavour} {self.version} takes no plugins of compiled kernels",
                expected="TensorRT 10.9 or later",
                fix="build without plugins",
            )
        return 1 << int(flag)

    def messages(self) -> Messages:
        """Return a new place for what TensorRT says."""
        return Messages(self.module)


class Messages:
    """What TensorRT says: errors are kept for the error of ours, warnings are logged.

    Args:
        module: Of `TensorRT`.

    Attributes:
        logger: An `ILogger` to hand to TensorRT, which must live as long as what it is given to.
        errors: Texts, the first hundred.
    """

    def __init__(self, module: Any) -> None:
        self.logger = _logger_class(module)()
        self.errors: list[str] = self.logger.errors

    def said(self) -> str:
        """Return the first errors, shortened, without the places in TensorRT's own sources."""
        texts = [re.sub(r"\(?In \S+ at \S+:\d+\)?", "", text).strip() for text in self.errors[:3]]
        return "; ".join(text[:300] for text in texts) or "TensorRT gave no reason"


@cache
def _logger_class(module: Any) -> Any:
    """Return the logger of a module, one class for good: TensorRT calls it when it lets go, too."""
    severity = module.ILogger.Severity

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warned: set[str] = set()

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                if len(self.errors) < _MOST_ERRORS:
                    self.errors.append(message)
            # TensorRT says the same of every layer: hundreds of lines of a few different ones.
            elif level == severity.WARNING and message not in self.warned:
                if len(self.warned) < _MOST_WARNINGS:
                    self.warned.add(message)
                _log.warning(message)

    return Logger


def is_installed(flavour: Flavour) -> bool:
    """Return whether a TensorRT's Python package is there; whether it works is not tried."""
    return any(importlib.util.find_spec(name) is not None for name in _MODULES[flavour])


def find_tensorrt(flavour: Flavour) -> TensorRT:
    """Return the installed TensorRT of a flavour.

    Raises:
        RunError: There is none, it is too old, or its libraries cannot be loaded.
    """
    module: Any = None
    for name in _MODULES[flavour]:
        try:
            module = importlib.import_module(name)
            break
        except ModuleNotFoundError as error:
            if error.name not in _MODULES[flavour]:
                raise _unloadable(flavour, error) from error
        except (ImportError, OSError) as error:
            raise _unloadable(flavour, error) from error
    if module is None:
        raise RunError(f"{flavour} is not installed", fix=_FIX[flavour])
    version = str(module.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < _OLDEST[flavour]:
        oldest = ".".join(map(str, _OLDEST[flavour]))
        raise RunError(
            f"{flavour} {version} is too old", expected=f"{oldest} or later", fix=_FIX[flavour]
        )
    return TensorRT(flavour, module, version)


def _unloadable(flavour: Flavour, error: Exception) -> RunError:
    return RunError(
        f"{flavour} is installed, but cannot be loaded ({error})",
        expected="its libraries beside its Python module",
        fix=_FIX[flavour],
    )
