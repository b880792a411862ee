"""What is wrong with the keys and values of a recipe, in words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from pydantic import ValidationError


def explain(kind: type[BaseModel], error: ValidationError, head: str = "") -> str:
    """Name everything that is wrong; unknown keys with the one that was probably meant.

    Args:
        kind: What was validated.
        error: What came of it.
        head: Comes before the keys, such as ``"method."``.
    """
    found = []
    for problem in error.errors(include_url=False):
        place = problem["loc"]
        key = head + ".".join(map(str, place)) if place else head.rstrip(".") or "recipe"
        what = problem["msg"]
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(place[-1]), _beside(kind, place), n=1, cutoff=0.5)
            what = "no such key" + (f"; did you mean {close[0]}?" if close else "")
        found.append(f"{key}: {what}")
    return "; ".join(found)


def _beside(kind: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """Return the keys that there are beside a key."""
    for part in place[:-1]:
        field = kind.model_fields.get(str(part))
        inner = None if field is None else field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        kind = inner
    return list(kind.model_fields)
