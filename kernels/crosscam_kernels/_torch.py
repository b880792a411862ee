"""Telling tensors from arrays without importing torch."""

from __future__ import annotations

import sys
from typing import Any

from crosscam_kernels.errors import MissingExtraError


def is_tensor(value: Any) -> bool:
    """Return whether `value` is a torch tensor; false where nobody has imported torch yet."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def require_torch(feature: str) -> Any:
    """Return the module torch.

    Args:
        feature: What needs it, for the message.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(feature, "train") from error
    return torch
