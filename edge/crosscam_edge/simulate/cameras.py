"""The cameras of a site: geometry, look, and the native view that renders their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_edge.simulate import _raster
from crosscam_edge.simulate.materials import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate.config import SiteConfig
    from crosscam_edge.simulate.layout import Layout

    Floats = NDArray[np.float64]

_AMBIENT_RAYS = 8


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera: pixel = K (R X + t), X in world metres with z up.

    Attributes:
        name: Also the stem of its files.
        number: From 1, in the order of `site.yaml`.
        zone: Number of the zone it watches.
        width: Pixels.
        height: Pixels.
        k: `(3, 3)` intrinsics.
        r: `(3, 3)` world to camera.
        t: `(3,)` metres.
        look: Nine numbers: R, G, B gain, gamma, contrast, saturation, vignette, noise, shadow
            softness.
        crf: Quality of the video encoder; larger is worse.
    """

    name: str
    number: int
    zone: int
    width: int
    height: int
    k: Floats
    r: Floats
    t: Floats
    look: tuple[float, ...]
    crf: int

    def project(self, points: Floats) -> Floats:
        """Pixels `(N, 2)` of world points `(N, 3)`."""
        at = (points @ self.r.T + self.t) @ self.k.T
        return np.asarray(at[:, :2] / at[:, 2:])

    def homography(self) -> Floats:
        """`(3, 3)` from homogeneous pixels to homogeneous ground metres (z = 0)."""
        ground = self.k @ np.column_stack([self.r[:, 0], self.r[:, 1], self.t])
        back = np.linalg.inv(ground)
        return np.asarray(back / back[2, 2])

    def calibration(self) -> dict[str, Any]:
        """The entry in `calibration.json`."""
        return {
            "id": self.name,
            "size": [self.width, self.height],
            "intrinsics": self.k.tolist(),
            "rotation": self.r.tolist(),
            "translation": self.t.tolist(),
            "position": (-self.r.T @ self.t).tolist(),
            "homography_image_to_ground": self.homography().tolist(),
        }


def _look(rng: np.random.Generator, kind: str) -> tuple[float, ...]:
    """A camera's character: temperature, exposure, curve, noise; no two are alike."""
    warm = float(rng.normal(0.0, 0.09))
    exposure = float(np.exp(rng.normal(0.12, 0.14)))
    tint = float(rng.normal(0, 0.02))
    return (
        exposure * (1 + warm),
        exposure * (1 + tint),
        exposure * (1 - warm),
        float(rng.uniform(1.9, 2.4)),
        float(rng.uniform(0.1, 0.45)),
        float(rng.uniform(0.78, 1.12)),
        float(rng.uniform(0.05, 0.35)),
        float(rng.uniform(1.2, 3.2)),
        0.06 if kind == "street" else 0.45,
    )


def make_cameras(layout: Layout, config: SiteConfig) -> list[Camera]:
    """Hang the cameras; small differences of height, aim and lens follow from the seed."""
    out = []
    pairs = zip(layout.camera_zone, layout.camera_mount, strict=True)
    for index, (zone_index, mount_index) in enumerate(pairs):
        rng = np.random.default_rng([config.seed, 31, index])
        zone = layout.zones[zone_index]
        mount = zone.mounts[mount_index]
        offset = np.array([*zone.offset, 0.0])
        eye = np.array(mount.eye) + offset + rng.normal(0, [0.12, 0.02, 0.08])
        aim = np.array(mount.target) + offset + rng.normal(0, [0.15, 0.2, 0.06])
        fov = mount.fov * float(rng.uniform(0.95, 1.04))
        forward = (aim - eye) / np.linalg.norm(aim - eye)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        r = np.stack([right, np.cross(forward, right), forward])
        focal = config.width / 2 / np.tan(np.radians(fov) / 2)
        k = np.array([[focal, 0, config.width / 2], [0, focal, config.height / 2], [0, 0, 1.0]])
        out.append(
            Camera(
                name=layout.names[index],
                number=index + 1,
                zone=zone_index,
                width=config.width,
                height=config.height,
                k=k,
                r=r,
                t=-r @ eye,
                look=_look(rng, zone.kind),
                crf=int(rng.integers(19, 25)),
            )
        )
    return out


def make_view(
    camera: Camera, layout: Layout, seed: int, *, ambient_rays: int = _AMBIENT_RAYS
) -> _raster.View:
    """Ray-trace the still part of a camera's picture; takes a second or two, without the GIL."""
    zone = layout.zones[camera.zone]
    corners, of = zone.scene.arrays(zone.offset)
    lamps = np.array(zone.lamps, np.float32).reshape(-1, 9)
    shift = np.where(lamps[:, 8:] > 0, 0, 1) * np.array([*zone.offset, 0.0])
    lamps[:, :3] += shift.astype(np.float32)
    scenery = _raster.make_scenery(
        corners, of, table(zone.scene.materials), lamps,
        np.array(zone.sky, np.float32), np.array(zone.ground, np.float32),
    )  # fmt: skip
    numbers = np.concatenate(
        [
            [
                camera.width,
                camera.height,
                camera.k[0, 0],
                camera.k[1, 1],
                camera.k[0, 2],
                camera.k[1, 2],
            ],
            np.column_stack([camera.r, camera.t]).ravel(),
        ]
    )
    return _raster.make_view(
        scenery, numbers, np.array(camera.look, np.float32), ambient_rays, seed
    )
