"""Mutations still find what they break; whether the tests notice them is for `make mutation`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MUTATIONS = [
    pytest.param(mutation, id=f"{path.stem}: {mutation['breaks']}")
    for path in sorted((ROOT / "tests" / "mutation").glob("*.toml"))
    for mutation in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]
]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_broken_line_is_there_once(mutation: dict[str, Any]) -> None:
    source = (ROOT / mutation["file"]).read_text(encoding="utf-8")
    for change in (mutation, *mutation.get("also", [])):
        assert source.count(change["find"]) == 1, change["find"]
        assert change["find"] != change["replace"]
