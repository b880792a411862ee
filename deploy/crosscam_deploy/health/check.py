"""`Check`: the answer to one question about this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        area: Group in the report, ``"machine"`` for example.
        name: What was looked at.
        status: A problem keeps the main job from running, a warning makes it slower or worse,
            info is neither.
        found: What is there.
        fix: What to do; never empty for problems and warnings.
    """

    area: str
    name: str
    status: Status
    found: str
    fix: str = ""
