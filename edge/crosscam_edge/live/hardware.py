"""Decoders in hardware: which of them work here, found out before any camera is asked."""

from __future__ import annotations

from functools import cache

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from crosscam_deploy.log import get_logger

CPU = "cpu"
AUTO = "auto"
_log = get_logger("camera")
_CODEC = "h264"  # what nearly every camera sends; whoever decodes it is there


def hardware_decoder(asked: str | None) -> str | None:
    """Return the decoder to try; None for the CPU.

    Args:
        asked: Name of an FFmpeg device (``cuda``, ``vaapi``, ``qsv`` …), ``auto`` for the first one
            that works, or None.
    """
    names = hwdevices_available() if asked == AUTO else [asked] if asked else []
    return next((name for name in names if _works(name)), None)


@cache
def _works(name: str) -> bool:
    """Try to open a device; what was found is true for as long as the process runs."""
    try:
        HWAccel(name, allow_software_fallback=False).create(av.Codec(_CODEC, "r"))
    except Exception as error:  # drivers fail in many ways, and the CPU does it too
        _log.warning("no hardware decoder", decoder=name, reason=f"{type(error).__name__}: {error}")
        return False
    return True
