"""File names described by a pattern such as ``{person}/{camera}_{view}.png``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crosscam_kernels.errors import UsageError

FIELDS = ("person", "camera", "clothes", "tracklet", "frame", "split")
"""Fields that become labels."""
IGNORED = ("view", "ext", "_")
"""Fields that match text and mean nothing; ``_`` may stand several times."""
_TYPES = {"": r"[^/]+?", "digits": r"[0-9]+", "letters": r"[^\W\d_]+"}
_MAX_FIELDS = 12
_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}:]*)(?::(?P<type>[^{}]*))?\}|[{}]|[^{}]+")
_EXPECTED = "text with fields: {person}/{camera}_{view}.png"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A parsed pattern; make it with `parse`.

    Attributes:
        text: As it was written.
        regex: What it became.
        fields: Names of its fields that become labels, in their order.
    """

    text: str
    regex: re.Pattern[str]
    fields: tuple[str, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the fields of a path, or None when it has another form.

        Args:
            path: Relative to the root of the set, with forward slashes.
        """
        found = self.regex.fullmatch(path)
        return None if found is None else {name: found[name] for name in self.fields}


def parse(text: str) -> PathPattern:
    """Parse a pattern.

    ``{name}`` matches one or more characters except ``/``, as few as the rest of the pattern
    allows; ``{name:digits}`` and ``{name:letters}`` match only such characters. A name that stands
    twice must have the same text in both places. ``{{`` and ``}}`` are braces. Everything else
    stands for itself, upper and lower case different.

    Args:
        text: With the fields of `FIELDS` and `IGNORED`; ``person`` is necessary.

    Raises:
        UsageError: It cannot be parsed, or cannot work.
    """
    parts: list[str] = []
    seen: list[str] = []
    previous: str | None = None  # type of the field directly before
    tokens = list(_TOKEN.finditer(text))
    for token in tokens:
        name, kind = token["name"], token["type"] or ""
        if name is None:
            if token[0] in ("{", "}"):
                raise UsageError(
                    f"pattern {text!r} has a single {token[0]!r}",
                    expected=_EXPECTED,
                    fix=f"write {token[0] * 2} for the character",
                )
            parts.append(re.escape(_literal(token[0])))
            previous = None
            continue
        _check_field(text, name, kind)
        if previous is not None and (previous == "" or kind == "" or previous == kind):
            raise UsageError(
                f"pattern {text!r} has two fields without text between them",
                expected="something between them, or {…:digits} next to {…:letters}",
            )
        if name in seen:
            parts.append(f"(?P={name})")
        elif name in IGNORED:
            parts.append(f"(?:{_TYPES[kind]})")
        else:
            seen.append(name)
            parts.append(f"(?P<{name}>{_TYPES[kind]})")
        previous = kind
    _check_whole(text, seen, sum(token["name"] is not None for token in tokens))
    return PathPattern(text, re.compile("".join(parts)), tuple(seen))


def _literal(token: str) -> str:
    return token[0] if token in ("{{", "}}") else token


def _check_field(text: str, name: str, kind: str) -> None:
    if name not in FIELDS + IGNORED:
        raise UsageError(
            f"pattern {text!r} has the unknown field {{{name}}}",
            expected=", ".join(f"{{{known}}}" for known in FIELDS + IGNORED),
        )
    if kind not in _TYPES:
        raise UsageError(
            f"pattern {text!r} has a field of the unknown type {kind!r}",
            expected="digits or letters, as in {camera:digits}",
        )


def _check_whole(text: str, seen: list[str], fields: int) -> None:
    if "person" not in seen:
        raise UsageError(
            f"pattern {text!r} does not say where the person is",
            expected=_EXPECTED,
            fix="add the field {person}",
        )
    if fields > _MAX_FIELDS:  # the time to find that a name does not match grows with each
        raise UsageError(f"pattern {text!r} has {fields} fields", expected=f"at most {_MAX_FIELDS}")
    if text.startswith("/") or "//" in text or ".." in text.split("/"):
        raise UsageError(
            f"pattern {text!r} is not a path below the folder of the set",
            expected="parts separated by single slashes, without a slash at the beginning",
        )
