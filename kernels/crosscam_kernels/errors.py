"""The error hierarchy of crosscam.

Every error that a user can meet says three things: what was found, what was expected, and what to
do. The base class lives in the lowest component so that every other can raise it.
"""

from __future__ import annotations


class CrosscamError(Exception):
    """Base of all errors raised on purpose.

    Args:
        found: What is wrong, with the offending value; one sentence without a full stop.
        expected: What would have been right; empty when `found` already says it.
        fix: What the user can do now.

    Attributes:
        exit_code: Exit status of the `crosscam` command for this error.
    """

    exit_code: int = 4

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found = found
        self.expected = expected
        self.fix = fix
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if fix:
            parts.append(f"What to do: {fix.rstrip('.')}{'' if fix.endswith('?') else '.'}")
        super().__init__(" ".join(parts))


class UsageError(CrosscamError):
    """The command or the call was made wrongly (bad flag, bad configuration key)."""

    exit_code = 2


class InputError(CrosscamError):
    """Something the user gave cannot be read or has the wrong content."""

    exit_code = 3


class ShapeError(InputError, ValueError):
    """An array has the wrong shape, dtype or layout."""


class RunError(CrosscamError):
    """The work itself failed (device, disk, child process)."""

    exit_code = 4


class MissingExtraError(RunError):
    """A feature needs an optional dependency that is not installed.

    Args:
        feature: What was asked for, for example ``"export of ultralytics models"``.
        extra: The name of the extra that brings it, for example ``"yolo"``.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"{feature} needs the dependencies of extra '{extra}', which are not installed",
            fix=f"pip install 'crosscam[{extra}]'",
        )
