"""What all parts of a site file share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

CAMERA_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Strict(BaseModel):
    """Base of all parts: unknown keys are errors, values are not converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
