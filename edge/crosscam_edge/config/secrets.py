"""Secrets of a site file: written as names of variables or files, read when a run begins."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VARIABLE = re.compile(r"\$\{(?P<name>[^}]*)\}")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_FROM_FILE = "file:"
_MOST_BYTES = 4096


def with_secrets(
    text: str,
    shown: str,
    *,
    escape: Callable[[str], str] = str,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Put secrets where a text names them.

    ``${NAME}`` is replaced by an environment variable, ``${file:PATH}`` by the first line of a
    file.

    Args:
        text: As the site file has it.
        shown: What it is, for messages; holds no secret.
        escape: What is done to each secret before it is put in.
        environment: Where variables come from; that of the process if not given.

    Raises:
        UsageError: A secret is not there.
    """
    known = os.environ if environment is None else environment
    return _VARIABLE.sub(lambda found: escape(_secret(found["name"], shown, known)), text)


def _secret(name: str, shown: str, environment: Mapping[str, str]) -> str:
    if name.startswith(_FROM_FILE):
        path = Path(name.removeprefix(_FROM_FILE))
        try:
            with path.open("rb") as file:
                return file.read(_MOST_BYTES).decode().splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            reason = str(error) if isinstance(error, OSError) else "it holds no line of text"
            raise UsageError(
                f"the secret of '{shown}' cannot be read from {path}: {reason}",
                expected="a readable file with the secret in its first line",
            ) from None
    if not _NAME.match(name) or name not in environment:
        raise UsageError(
            f"'{shown}' needs the environment variable '{name}', which is not set",
            fix=f"export {name}=…, or ${{file:PATH}} for a secret in a file",
        )
    return environment[name]
