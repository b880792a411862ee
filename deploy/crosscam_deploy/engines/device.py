"""The GPU of this machine, as far as engines care."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crosscam_kernels.errors import RunError


@dataclass(frozen=True, slots=True)
class Device:
    """A CUDA device.

    Attributes:
        name: As its driver says.
        capability: Compute capability, as ``"8.7"``.
        driver: Highest CUDA version of the driver, as ``"13.0"``.
    """

    name: str
    capability: str
    driver: str


def find_device(index: int = 0) -> Device | None:
    """Return a CUDA device, or None where there is no GPU, driver or `cuda-python`.

    Raises:
        RunError: The driver is there and says that something is wrong.
    """
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    try:
        error, count = _checked(driver.cuInit(0)), 0
        if error is None:
            count = _value(driver.cuDeviceGetCount())
    except RuntimeError:  # what the bindings raise without libcuda
        return None
    if error is not None or index >= count:
        return None
    device = _value(driver.cuDeviceGet(index))
    kind = driver.CUdevice_attribute
    major, minor = (
        _value(driver.cuDeviceGetAttribute(attribute, device))
        for attribute in (
            kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    name = bytes(_value(driver.cuDeviceGetName(256, device))).split(b"\0")[0].decode()
    version = int(_value(driver.cuDriverGetVersion()))
    return Device(name, f"{major}.{minor}", f"{version // 1000}.{version % 1000 // 10}")


def _checked(answer: Any) -> str | None:
    """Return the name of an error, or None."""
    code = answer[0]
    return None if int(code) == 0 else str(code.name)


def _value(answer: Any) -> Any:
    problem = _checked(answer)
    if problem is not None:
        raise RunError(
            f"the CUDA driver answered {problem}", fix="look at nvidia-smi and `crosscam doctor`"
        )
    return answer[1]
