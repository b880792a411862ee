"""Engines: a graph compiled by TensorRT or TensorRT-RTX for some GPUs, with a manifest of its own.

`EngineBuilder` makes them, `EngineStore` keeps and checks them. Nothing here needs a GPU: TensorRT
asks for one when it builds, TensorRT-RTX does not.
"""

from crosscam_deploy.engines.api import Flavour, TensorRT, find_tensorrt
from crosscam_deploy.engines.builder import EngineBuilder
from crosscam_deploy.engines.device import Device, find_device
from crosscam_deploy.engines.manifest import EngineManifest
from crosscam_deploy.engines.options import EngineOptions, Profile
from crosscam_deploy.engines.store import Engine, EngineStore

__all__ = [
    "Device",
    "Engine",
    "EngineBuilder",
    "EngineManifest",
    "EngineOptions",
    "EngineStore",
    "Flavour",
    "Profile",
    "TensorRT",
    "find_device",
    "find_tensorrt",
]
