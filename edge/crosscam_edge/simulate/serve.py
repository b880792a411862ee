"""Recordings as if they were cameras: a folder of videos over RTSP, in real time and looped.

The server is that of aio-rtsp-toolkit (extra `rtsp`): pure Python, pictures interleaved with RTSP
over TCP, without a password. It is for trying things out, on one machine or in a trusted network.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import CancelledError, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import av
import av.error
import yaml

from crosscam_edge.config.cameras import safe_name
from crosscam_edge.sinks.atomic import write_text
from crosscam_edge.sources.paths import VIDEO_SUFFIXES
from crosscam_kernels.errors import InputError, MissingExtraError, RunError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_CONTAINERS = frozenset({".mp4", ".mkv"})
_CODECS = frozenset({"h264", "hevc"})
_FOLLOWERS = 256
_POLL_S = 0.1
_SITE = "site.yaml"


def cameras_of(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the videos of a folder that can be served, by the names of their cameras.

    Args:
        folder: With `site.yaml`, whose cameras are taken as they are named there, or with videos,
            itself or somewhere below.

    Returns:
        Files by name, and what was left out, with the reason.

    Raises:
        InputError: There is nothing to serve, or a video of the site file is not in the folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"'{folder}' is no folder", expected="one with videos, or a simulated site"
        )
    found: dict[str, Path] = {}
    left: list[str] = []
    for name, path in _named(folder):
        reason = _unfit(path)
        if reason is not None:
            left.append(f"{path.relative_to(folder)}: {reason}")
            continue
        found[name] = path
    if not found:
        why = f" ({'; '.join(left[:3])})" if left else ""
        raise InputError(
            f"'{folder}' has no video that can be served{why}",
            expected="H.264 or H.265 in .mp4 or .mkv",
            fix="ffmpeg -i VIDEO -c:v libx264 NAME.mp4, or `crosscam simulate -o SITE`",
        )
    return found, left


def addresses(cameras: dict[str, Path], folder: Path, host: str, port: int) -> dict[str, str]:
    """Return where each camera is served, by its name."""
    shown = f"[{host}]" if ":" in host else host
    return {
        name: f"rtsp://{shown}:{port}/{quote(path.relative_to(folder).as_posix())}?play_count=0"
        for name, path in cameras.items()
    }


def write_site(target: Path, folder: Path, urls: dict[str, str]) -> None:
    """Write a site file for `crosscam run`: the folder's own one, with addresses for videos.

    Raises:
        CrosscamError: It cannot be written.
    """
    settings = _settings(folder)
    known = {str(each.get("id")): each for each in settings.get("cameras", [])}
    settings["cameras"] = [
        {
            **{k: v for k, v in known.get(name, {}).items() if k not in ("video", "start_time")},
            "id": name,
            "url": url,
        }
        for name, url in urls.items()
    ]
    write_text(target, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))


def serve(
    folder: Path,
    host: str,
    port: int,
    stop: threading.Event,
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve what is in a folder until told to stop.

    Args:
        folder: Its videos have the addresses of `addresses`.
        host: Where to listen.
        port: 0 for any that is free.
        stop: Set by another thread, or by a signal.
        ready: Called with the port once somebody can connect.

    Raises:
        MissingExtraError: The extra `rtsp` is not installed.
        RunError: Nobody can listen there.
    """
    if find_spec("aio_rtsp_toolkit") is None:
        raise MissingExtraError("serving recordings over RTSP", "rtsp")
    asyncio.run(_serve(folder, host, port, stop, ready))


async def _serve(
    folder: Path, host: str, port: int, stop: threading.Event, ready: Callable[[int], None]
) -> None:
    from aio_rtsp_toolkit.server import RtspServer
    from aio_rtsp_toolkit.server_session import RtspServerSession

    RtspServerSession._threadsafe_queue_put = put_once
    server = RtspServer(str(folder), host, port, session_name="crosscam")
    # Each follower takes a thread, and by default there are hardly more than processors.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_FOLLOWERS, "rtsp"))
    log = logging.getLogger("aio_rtsp_toolkit")  # each session tells much of itself
    log.setLevel(logging.ERROR)
    server.logger = log
    try:
        await server.start()
    except OSError as error:
        raise RunError(
            f"nobody can listen at {host}:{port} ({os.strerror(error.errno or 0)})",
            expected="an address of this machine and a port that is free",
            fix="--port 0 takes any",
        ) from error
    try:
        sockets: Any = server._server
        ready(int(sockets.sockets[0].getsockname()[1]))
        while not stop.is_set():
            await asyncio.sleep(_POLL_S)
    finally:
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        await server.close()


def put_once(
    _: object,
    loop: asyncio.AbstractEventLoop,
    queue: asyncio.Queue[Any],
    item: object,
    stop: threading.Event,
) -> bool:
    """Put something into a queue of another thread's loop, which may be full; waits for room.

    In place of the toolkit's own (0.1.4), which gives up every 50 ms and begins anew: what was put
    in that very moment is put twice. At ten pictures a second that was one in a hundred, and made
    decoders smear all pictures up to the next key picture.

    Args:
        _: The session.
        loop: Of the other thread.
        queue: Of that loop.
        item: What to put.
        stop: Set when nobody reads any more.

    Returns:
        Whether it was put.
    """
    putting = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
    while not stop.is_set():
        try:
            putting.result(timeout=_POLL_S)
        except TimeoutError:
            continue
        except CancelledError:
            return False
        return True
    putting.cancel()
    return False


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / _SITE
    if not path.is_file():
        return {}
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({error})") from error
    if not isinstance(read, dict) or not isinstance(read.get("cameras", []), list):
        raise InputError(f"{path} is no site file", expected="cameras: a list")
    return read


def _named(folder: Path) -> list[tuple[str, Path]]:
    """Return names and videos, as the site file says or as they lie there."""
    cameras = _settings(folder).get("cameras")
    if cameras:
        return [_of_site(folder, index, each) for index, each in enumerate(cameras)]
    names: dict[str, int] = {}
    out = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            name = safe_name(path.stem)
            names[name] = names.get(name, 0) + 1
            out.append((name if names[name] == 1 else f"{name}-{names[name]}", path))
    return out


def _of_site(folder: Path, index: int, camera: Any) -> tuple[str, Path]:
    video = camera.get("video") if isinstance(camera, dict) else None
    path = folder / str(video)
    inside = path.is_file() and path.resolve().is_relative_to(folder.resolve())
    if video is None or not inside:
        raise InputError(
            f"cameras[{index}] of {folder / _SITE} has no video in that folder",
            expected="cameras: a list of {id: NAME, video: FILE}",
        )
    return str(camera.get("id") or safe_name(path.stem)), path


def _unfit(path: Path) -> str | None:
    """Return why a video cannot be served; None where it can."""
    if path.suffix.lower() not in _CONTAINERS:
        return "neither .mp4 nor .mkv"
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return "no video in it"
            codec = container.streams.video[0].codec_context.name
    except (av.error.FFmpegError, OSError) as error:
        return str(error)
    return None if codec in _CODECS else f"{codec}, neither H.264 nor H.265"
