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
_ENDING = re.compile(r"\\\.[a-z]+$")  # of an escaped text: \.png
_EXPECTED = "text with fields: {person}/{camera}_{view}.png"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A parsed pattern; make it with `parse`.

    Attributes:
        text: As it was written.
        regex: What it became; earlier fields take as little as they can.
        fields: Names of its fields that become labels, in their order.
        greedy: The same, but earlier fields take as much as they can: another reading of a name, if
            there is one.
    """

    text: str
    regex: re.Pattern[str]
    fields: tuple[str, ...]
    greedy: re.Pattern[str]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the fields of a path, or None when it has another form.

        Args:
            path: Relative to the root of the set, with forward slashes.
        """
        return self._fields(self.regex.fullmatch(path))

    def other(self, path: str) -> dict[str, str] | None:
        """Return the fields of a path read in another way, or None where there is only one."""
        found = self._fields(self.greedy.fullmatch(path))
        return None if found == self.match(path) else found

    def _fields(self, found: re.Match[str] | None) -> dict[str, str] | None:
        return None if found is None else {name: found[name] for name in self.fields}


def parse(text: str) -> PathPattern:
    """Parse a pattern.

    ``{name}`` matches one or more characters except ``/``, as few as the rest of the pattern
    allows; ``{name:digits}`` and ``{name:letters}`` match only such characters. A name that stands
    twice must have the same text in both places. ``{{`` and ``}}`` are braces. Everything else
    stands for itself, upper and lower case different except in an ending such as ``.png``.

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
    if tokens[-1]["name"] is None:
        parts[-1] = _ENDING.sub(r"(?i:\g<0>)", parts[-1])
    lazy = "".join(parts)
    return PathPattern(text, re.compile(lazy), tuple(seen), re.compile(lazy.replace("+?", "+")))


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
