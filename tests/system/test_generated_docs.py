"""The generated reference pages are those of this code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GENERATE = Path(__file__).parents[2] / "docs" / "generate.py"


def test_reference_pages_are_current() -> None:
    # A process of its own: click keeps the help option of the first context that asked for it.
    command = [sys.executable, str(GENERATE), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
