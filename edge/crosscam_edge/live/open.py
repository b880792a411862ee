"""From a site file to cameras that can be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_edge.config.cameras import safe_name
from crosscam_edge.live.address import Address, parse_address
from crosscam_edge.live.camera import LiveCamera
from crosscam_edge.live.connection import FileConnection, connect
from crosscam_edge.live.faults import FaultCode
from crosscam_edge.live.hardware import CPU, hardware_decoder
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosscam_edge.config import CameraConfig, SiteConfig
    from crosscam_edge.live.connection import Connection
    from crosscam_edge.live.ring import Ring, Rings


def live_cameras(
    settings: SiteConfig,
    now_ns: Callable[[], int],
    changed: Callable[[], None],
    rings: Rings | None = None,
) -> list[tuple[CameraConfig, LiveCamera]]:
    """Return the cameras of a site, not yet started.

    A camera with ``url`` is watched; one with ``video`` plays its recording in real time, over and
    over, as a camera would.

    Args:
        settings: Of the site.
        now_ns: UTC.
        changed: Called by the cameras' threads when there is something new.
        rings: Get what the cameras send, for clips.

    Raises:
        UsageError: There is no camera, or one has no source, no name, or a wrong address. All
            addresses are read before the first camera is asked for anything.
    """
    if not settings.cameras:
        raise UsageError(
            "the site has no cameras",
            expected="cameras: a list of {id: NAME, url: rtsp://…}",
            fix="add them to the site file",
        )
    found = [
        (_named(camera, index), _address(camera, index))
        for index, camera in enumerate(settings.cameras)
    ]
    _refuse_twice(found)
    return [(config, _camera(config, address, now_ns, changed, rings)) for config, address in found]


def _named(camera: CameraConfig, index: int) -> CameraConfig:
    if camera.id is not None:
        return camera
    if camera.video is None:
        raise UsageError(
            f"cameras[{index}] has no id",
            expected="a name for every live camera",
            fix=f"add 'id: camera{index + 1}'",
        )
    name = camera.video.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return camera.model_copy(update={"id": safe_name(name)})


def _address(camera: CameraConfig, index: int) -> Address:
    source = camera.url or camera.video
    if source is None:
        raise UsageError(
            f"cameras[{index}] ({camera.id or 'unnamed'}) has neither url nor video",
            expected="url: rtsp://HOST/PATH, or a recording to play as a camera",
            fix="add one of them",
        )
    return parse_address(source)


def _refuse_twice(found: Sequence[tuple[CameraConfig, Address]]) -> None:
    names: dict[str, int] = {}
    for index, (camera, _) in enumerate(found):
        first = names.setdefault(str(camera.id).lower(), index)
        if first != index:
            raise UsageError(
                f"cameras[{first}] and cameras[{index}] are both called '{camera.id}'",
                expected="a name of its own for every camera",
                fix="add 'id:' to one of them",
            )


def _camera(
    config: CameraConfig,
    address: Address,
    now_ns: Callable[[], int],
    changed: Callable[[], None],
    rings: Rings | None,
) -> LiveCamera:
    camera: LiveCamera
    offset_ns = round(config.offset_seconds * 1e6) * 1000
    broken: list[str] = []  # decoders in hardware that failed at what this camera sends
    begun: list[Ring] = []  # with the first connection: a camera that is never started has none

    def connection() -> Connection:
        if rings is not None and not begun:
            begun.append(rings.begin(str(config.id), offset_ns))
        ring = begun[0] if begun else None
        if address.kind == "file":
            return FileConnection(address.target, now_ns, camera.wait, ring)
        before = camera.health()
        if before.fault is FaultCode.DECODE and before.stream.decoder != CPU:
            broken.append(before.stream.decoder)
        device = None if broken else hardware_decoder(config.hwaccel)
        return connect(address, now_ns, transport=config.transport, hwaccel=device, ring=ring)

    camera = LiveCamera(
        str(config.id),
        address.shown,
        connection,
        now_ns,
        offset_ns=offset_ns,
        changed=changed,
        source=(address, config.transport, config.hwaccel, config.offset_seconds),
    )
    return camera
