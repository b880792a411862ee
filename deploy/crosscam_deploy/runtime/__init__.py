"""Runtimes: one small interface over the engines that execute a bundle's graph."""

from __future__ import annotations

from crosscam_deploy.runtime.base import Precision, Runtime
from crosscam_deploy.runtime.open import RuntimeName, available_runtimes, open_runtime

__all__ = ["Precision", "Runtime", "RuntimeName", "available_runtimes", "open_runtime"]
