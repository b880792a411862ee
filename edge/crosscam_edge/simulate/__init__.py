"""A rendered multi-camera site with exact ground truth: people walk, cameras watch.

The package holds the world (`zones`, `layout`, `crowd`), the people (`body`, `wardrobe`, `figure`,
`gait`), the cameras (`cameras`), the native renderer (`_raster`, sources in `edge/csrc`) and what
is written (`writers`); `simulate` puts them together.
"""

from __future__ import annotations

from crosscam_edge.simulate.config import SiteConfig
from crosscam_edge.simulate.site import SimulatedSite, simulate

__all__ = ["SimulatedSite", "SiteConfig", "simulate"]
