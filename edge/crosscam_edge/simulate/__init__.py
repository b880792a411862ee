"""A rendered multi-camera site with exact ground truth: people walk, cameras watch.

The package holds the world (`layout`, `crowd`), the people (`body`, `wardrobe`, `gait`), the
cameras (`cameras`) and the native renderer (`_raster`); `simulate` puts them together.
"""

from __future__ import annotations
