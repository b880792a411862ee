"""The strict site configuration: one YAML file, command-line flags on top."""

from __future__ import annotations

from crosscam_edge.config.cameras import resolve_cameras
from crosscam_edge.config.load import load_config
from crosscam_edge.config.models import CameraConfig, OutputConfig, SiteConfig

__all__ = ["CameraConfig", "OutputConfig", "SiteConfig", "load_config", "resolve_cameras"]
