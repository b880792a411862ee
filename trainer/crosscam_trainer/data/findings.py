"""What is wrong with a data set, collected while it is read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

Severity = Literal["error", "warning", "note"]
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: "error": the set is broken; "warning": it can be used, but somebody should look;
            "note": by design, worth knowing.
        code: Stable short name for programs: "missing-folder", "wrong-name", "count", …
        found: What is wrong, with values; one sentence without a full stop.
        expected: What would have been right; may be empty.
        fix: What the user can do; may be empty.
        count: How many files or labels it concerns.
    """

    severity: Severity
    code: str
    found: str
    expected: str = ""
    fix: str = ""
    count: int = 1


@dataclass(slots=True)
class Findings:
    """Collects findings; the same kind of trouble with many files becomes one finding.

    Attributes:
        items: In the order in which they were found.
    """

    items: list[Finding] = field(default_factory=list)

    def add(
        self,
        severity: Severity,
        code: str,
        found: str,
        *,
        expected: str = "",
        fix: str = "",
        count: int = 1,
    ) -> None:
        """Note one thing; the arguments are those of `Finding`."""
        self.items.append(Finding(severity, code, found, expected, fix, count))

    def files(
        self,
        severity: Severity,
        code: str,
        what: str,
        names: list[str],
        *,
        expected: str = "",
        fix: str = "",
        noun: str = "file",
    ) -> None:
        """Note a trouble that several files share; none at all is no finding.

        Args:
            severity: As in `Finding`.
            code: As in `Finding`.
            what: Completes "1 file …" as well as "3 files …".
            names: The files, relative to the root of the set; the first few are shown.
            expected: As in `Finding`.
            fix: As in `Finding`.
            noun: What `names` are, in the singular.
        """
        if not names:
            return
        shown = ", ".join(names[:EXAMPLES]) + (", …" if len(names) > EXAMPLES else "")
        plural = f"1 {noun}" if len(names) == 1 else f"{len(names)} {noun}s"
        found = f"{plural} {what}: {shown}"
        self.add(severity, code, found, expected=expected, fix=fix, count=len(names))

    @property
    def errors(self) -> list[Finding]:
        """Those that make the set unusable."""
        return [item for item in self.items if item.severity == "error"]

    def raise_errors(self, root: Path) -> None:
        """Raise the first error, if there is one.

        Raises:
            InputError: With the number of further errors.
        """
        errors = self.errors
        if not errors:
            return
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(
            f"{root}: {first.found}{more}",
            expected=first.expected,
            fix=first.fix or f"see everything with `crosscam data check {root}`",
        )
