"""`crosscam data check`: figures, statuses, wrong options, and nothing heavy loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import data_trees as trees
import pytest
from click.testing import CliRunner

from crosscam_edge.cli import cli
from crosscam_kernels.errors import UsageError


def _run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["data", "check", *args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_command_tells_figures_and_leaves_with_a_status(tmp_path: Path) -> None:
    root = trees.generic(tmp_path)
    pattern = ("--pattern", "{person}/{camera}_{view}.png")
    code, text = _run(str(root), *pattern, "--train-share", "1")
    assert code == 0
    assert "48 of 48 pictures read" in text
    assert "sound" in text
    code, text = _run(str(root), *pattern, "--query-camera", "a", "--json")
    record = json.loads(text)
    assert code == 0
    assert record["ok"] is True
    assert record["figures"]["query.pictures"] == record["figures"]["gallery.pictures"] == 12
    assert record["sizes"] == [[12, 24]] * 3


def test_command_on_a_broken_set(tmp_path: Path) -> None:
    root = trees.market(tmp_path)
    code, text = _run(str(root))
    assert code == 3
    assert "4 of 12,936" in text
    assert _run(str(root), "--part")[0] == 0
    code, text = _run(str(root), "--kind", "ltcc", "--json")
    assert code == 3
    assert json.loads(text)["findings"][0]["code"] == "missing-folder"


def test_command_refuses_options_without_their_pattern(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--query-camera without --pattern"):
        _run(str(trees.market(tmp_path)), "--query-camera", "a")
    with pytest.raises(UsageError, match="a share of 2"):
        _run(str(tmp_path), "--pattern", "{person}.png", "--train-share", "2")


def test_reading_and_checking_load_no_torch(tmp_path: Path) -> None:
    root = trees.market(tmp_path)
    script = (
        "import pkgutil, sys, crosscam_trainer.data as data\n"
        "from importlib import import_module\n"
        "from crosscam_edge.cli import cli\n"
        "for module in pkgutil.walk_packages(data.__path__, 'crosscam_trainer.data.'):\n"
        "    if module.name.split('.')[2] not in ('dataset', 'transforms'):\n"
        "        import_module(module.name)\n"
        f"cli.main(['data', 'check', {str(root)!r}, '--part'], standalone_mode=False)\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert 'crosscam_trainer' in loaded\n"
        "sys.exit(bool(loaded & {'torch', 'torchvision', 'PIL', 'open_clip'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sound" in done.stdout
