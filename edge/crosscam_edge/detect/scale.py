"""At which size a detector looks at a picture.

A fully convolutional detector is not bound to the square input it was published with. A square
wastes a quarter of its work on the padding of a 4:3 picture and almost half on that of a 16:9 one;
spent on pixels of the picture instead, the same work finds smaller people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosscam_deploy.manifest import Manifest

# YOLO detectors are trained on pictures of random sizes up to this one.
LONGEST_SIDE = 640
_SHORTEST_SIDE = 64


def can_choose(manifest: Manifest) -> bool:
    """Return whether a detector is of a kind that may run at other sizes than the published."""
    decoder = manifest.decoder
    kinds = ("yolox", "yolo_raw")
    return decoder is not None and decoder.kind in kinds and manifest.preprocessing.fit != "stretch"


def input_size(
    picture: tuple[int, int], manifest: Manifest, longest: int | None = None
) -> tuple[int, int]:
    """Return the input size that suits a picture.

    The longest side is the picture's own, but no less than the published input's and no more than
    `LONGEST_SIDE`, unless that is larger; the other side follows the picture's shape.

    Args:
        picture: `(width, height)` of the picture in pixels.
        manifest: Of the detector.
        longest: Longest side in pixels instead of that rule.

    Returns:
        `(height, width)` in pixels, multiples of the detector's coarsest stride; the published size
        for detectors that cannot choose.
    """
    prep, decoder = manifest.preprocessing, manifest.decoder
    published = (prep.height, prep.width)
    if decoder is None or not can_choose(manifest):
        return published
    side = max(picture)
    if longest is None:
        longest = min(max(side, *published), max(LONGEST_SIDE, *published))
    stride = max(decoder.strides)
    width, height = (
        max(-(-length * longest // (side * stride)), -(-_SHORTEST_SIDE // stride)) * stride
        for length in picture
    )
    return height, width
