"""The units as systemd itself reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units beside each other, with a program that is on every machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine (Debian: package systemd)")
    folder = tmp_path_factory.mktemp("units")
    for unit in UNITS.glob("*@.*"):
        text = unit.read_text().replace("/opt/crosscam/bin/crosscam-nightly", "/bin/true")
        (folder / unit.name).write_text(text)
    return folder


def _analyze(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *args], capture_output=True, text=True, check=False, timeout=60
    )


def test_systemd_knows_every_line(units: Path) -> None:
    for unit in sorted(units.iterdir()):
        found = _analyze("verify", "--man=no", str(unit))
        assert found.returncode == 0, found.stderr
        complaints = [line for line in found.stderr.splitlines() if "crosscam" in line]
        assert complaints == []


def test_a_misspelled_line_is_noticed(units: Path, tmp_path: Path) -> None:
    text = (units / "crosscam-nightly@.service").read_text()
    wrong = tmp_path / "crosscam-nightly@.service"
    wrong.write_text(text.replace("NoNewPrivileges", "NoMorePrivileges"))
    assert "NoMorePrivileges" in _analyze("verify", "--man=no", str(wrong)).stderr


def test_the_service_is_exposed_to_next_to_nothing(units: Path) -> None:
    unit = str(units / "crosscam-nightly@.service")
    found = _analyze("security", "--offline=yes", "--no-pager", unit)
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd is older than 250 and cannot judge a file")
    level = re.search(r"Overall exposure level .*: ([\d.]+)", found.stdout)
    assert level, found.stdout + found.stderr
    assert float(level.group(1)) <= 1.0
