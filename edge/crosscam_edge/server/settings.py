"""A configuration for people to read: what it says, and no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscam_deploy.redact import MASK, redact

if TYPE_CHECKING:
    from crosscam_edge.config import SiteConfig


def shown_settings(settings: SiteConfig) -> dict[str, Any]:
    """Return a configuration as JSON, with `***` for secrets.

    Of the address of a camera everything after the `?` is left out too: cameras take passwords
    there under many names. So are names of users.
    """
    out: dict[str, Any] = _masked(settings.model_dump(mode="json"))
    for camera in out["cameras"]:
        address, parameters, _ = (camera["url"] or "").partition("?")
        if parameters:
            camera["url"] = f"{address}?{MASK}"
    mqtt = out["live"]["mqtt"]
    if mqtt is not None and mqtt["username"] is not None:
        mqtt["username"] = MASK
    return out


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if isinstance(value, str):
        # Pydantic writes its own secrets as stars.
        return MASK if value and not value.strip("*") else redact(value)
    return value
