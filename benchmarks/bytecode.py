"""An environment for timed commands in which Python modules are compiled, as with any user.

Some machines forbid Python to keep bytecode (``PYTHONDONTWRITEBYTECODE``, usual in containers).
Every start of a program then compiles a thousand modules again: seconds that say nothing of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def compiled_env(cache: Path) -> dict[str, str]:
    """Return the environment of this process, with bytecode kept in the folder `cache`.

    The first run of a command fills it; do not time that one.
    """
    env = dict(os.environ)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(cache)
    return env
