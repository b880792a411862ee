"""What happens to a picture between the lens and the file.

In the order of a camera: haze in front of the lens, white balance and exposure of the moment, black
and white points, defocus and smear, loss of resolution, grain, sharpening, the coder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_trainer.people.cameras import Channel

    Picture = NDArray[np.uint8]

_REFERENCE = 128.0  # height of a crop in which blur is told, pixels
_LEAST = 48  # pixels that a crop's height keeps


@dataclass(frozen=True, slots=True)
class Moment:
    """What is the same for all pictures of one scene.

    Attributes:
        gain: B, G, R factors.
        lift: Grey levels added.
        gamma: Of the encoded signal.
    """

    gain: tuple[float, float, float]
    lift: float
    gamma: float


def draw_moment(channel: Channel, rng: np.random.Generator) -> Moment:
    """Light changes and white balance hunts: a camera is not the same all day."""
    gain = np.exp(rng.normal(0, channel.drift, 3) + rng.normal(0, 1.5 * channel.drift))
    return Moment(
        (float(gain[0]), float(gain[1]), float(gain[2])),
        float(rng.normal(0, 40 * channel.drift)),
        float(np.exp(rng.normal(0, channel.drift))),
    )


def _smear(image: NDArray[np.float32], length: float, angle: float) -> NDArray[np.float32]:
    size = max(int(np.ceil(length)) | 1, 3)
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    for t in np.linspace(-0.5, 0.5, 4 * size):
        x = middle + t * length * np.cos(angle)
        y = middle + t * length * np.sin(angle)
        kernel[round(float(y)), round(float(x))] += 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)


def degrade(
    image: Picture,
    channel: Channel,
    moment: Moment,
    rng: np.random.Generator,
    *,
    unit: float | None = None,
) -> Picture:
    """Send a picture through a camera's channel.

    Args:
        image: `(H, W, 3)` BGR as rendered.
        channel: The camera's.
        moment: The scene's.
        rng: Draws what differs from picture to picture.
        unit: Scale of blur and smear; that of a crop of this height if not given.

    Returns:
        `(H, W, 3)` BGR of the same size, as decoded from the camera's coder.
    """
    height, width = image.shape[:2]
    unit = height / _REFERENCE if unit is None else unit
    light = image.astype(np.float32)
    if channel.haze:
        light += (np.float32(235) - light) * np.float32(channel.haze)
    light = np.asarray(255 * np.clip(light / 255, 0, 1) ** moment.gamma, np.float32)
    light = light * np.array(moment.gain, np.float32) + np.float32(moment.lift)
    black, white = channel.levels
    light = np.clip((light - np.float32(black)) * np.float32(255 / (white - black)), 0, 255)
    blur = channel.blur * unit * float(rng.uniform(0.5, 1.5))
    if blur > 0.25:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), blur), np.float32)
    motion = channel.motion * unit * float(rng.random()) ** 2
    if motion > 1.2:
        light = _smear(light, motion, float(rng.normal(0, 0.4)))
    scale = channel.scale * (float(rng.uniform(0.85, 1.1)) if channel.scale < 1 else 1.0)
    scale = max(scale, _LEAST / height)
    small = (max(round(width * scale), 12), max(round(height * scale), 24))
    if small[0] < width and small[1] < height:
        light = np.asarray(cv2.resize(light, small, interpolation=cv2.INTER_AREA), np.float32)
    if channel.noise > 0.3:
        light += rng.standard_normal(light.shape[:2], np.float32)[..., None] * np.float32(
            channel.noise
        )
    if channel.chroma > 0.3:
        coarse = rng.standard_normal(
            (light.shape[0] // 2 + 1, light.shape[1] // 2 + 1, 3), np.float32
        )
        light += np.float32(channel.chroma) * np.asarray(
            cv2.resize(coarse, (light.shape[1], light.shape[0])), np.float32
        )
    if channel.sharpen:
        soft = np.asarray(cv2.GaussianBlur(light, (0, 0), 1.0), np.float32)
        light += (light - soft) * np.float32(channel.sharpen)
    coded = np.clip(light + 0.5, 0, 255).astype(np.uint8)
    quality = int(rng.integers(channel.quality[0], channel.quality[1] + 1))
    _, data = cv2.imencode(".jpg", coded, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    if decoded.shape[:2] != (height, width):
        decoded = np.asarray(cv2.resize(decoded, (width, height)), np.uint8)
    return decoded
