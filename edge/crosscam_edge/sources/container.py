"""Opening a container with nothing but local video formats allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import av.error

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

# A list of what may be opened, not of what may not: FFmpeg also "demuxes" text (as a terminal),
# playlists that name other files and URLs, and single pictures, none of which is a recording.
_VIDEO_FORMATS = (
    "3gp,apng,asf,av1,avi,avs2,avs3,cavsvideo,dhav,dv,evc,flv,gif,gxf,h261,h263,h264,hevc,ipmovie,"
    "ivf,live_flv,m4v,matroska,mjpeg,mjpeg_2000,mov,mp4,mpeg,mpegts,mpegvideo,mtv,mv,mxf,nsv,nut,"
    "obu,ogg,rm,smk,swf,vc1,vc1test,vvc,webm,wtv,wv,yuv4mpegpipe"
)
# Opened only to be able to say "this is sound, not a picture".
_AUDIO_FORMATS = "aac,ac3,aiff,amr,ape,au,caf,eac3,flac,mp3,opus,w64,wav"
_MAX_PIXELS = 16384 * 16384 // 4
# Titles and comments may be in any encoding. From 19 on PyAV bears with that by itself, and no
# longer knows the argument.
_TOLERANT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def open_container(path: Path) -> Any:
    """Open a local media file.

    Returns:
        The `av.container.InputContainer`.

    Raises:
        InputError: FFmpeg does not know it as a video.
    """
    try:
        return av.open(
            str(path),
            container_options={
                "format_whitelist": f"{_VIDEO_FORMATS},{_AUDIO_FORMATS}",
                "protocol_whitelist": "file",
            },
            options={"max_pixels": str(_MAX_PIXELS)},
            **_TOLERANT,
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path, error) from None


def video_stream(container: Any, path: Path) -> Any:
    """Return the first real video stream (cover pictures of music do not count).

    Raises:
        InputError: There is none, or nothing here can decode it.
    """
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        raise InputError(
            f"'{path}' has no video stream, only {' and '.join(kinds) or 'nothing readable'}",
            expected="a recording with pictures",
            fix="check that this is the camera's video and not its sound track",
        )
    stream = streams[0]
    if stream.codec_context is None:
        raise InputError(
            f"the video codec of '{path}' has no decoder here",
            expected="a codec that this FFmpeg build knows",
            fix=f"convert it once: ffmpeg -i '{path.name}' -c:v libx264 converted.mp4",
        )
    return stream


def _not_a_video(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    log = getattr(error, "log", None)
    detail = f"{reason}; {log[2].strip()}" if log else str(reason)
    unfinished = path.suffix.lower() in {".mp4", ".mov", ".m4v", ".3gp"}
    return InputError(
        f"'{path}' cannot be read as a video ({detail})",
        expected="a video file (mp4, mkv, avi, mov, ts, raw h264/h265 and others)",
        fix="the recording was probably cut off before its index was written; "
        "repair it (for example with untrunc) or record to mkv or ts"
        if unfinished
        else "check the file, or convert it with ffmpeg",
    )
