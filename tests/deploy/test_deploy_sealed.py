"""Folders of machine code are used only where this machine sealed them, and as it did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crosscam_deploy.runtime import sealed

FACTS = {"torch": "2.14", "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSCAM_DATA", str(tmp_path / "data"))
    made = tmp_path / "made"
    (made / "below").mkdir(parents=True)
    (made / "code.so").write_bytes(b"code")
    (made / "below" / "more.bin").write_bytes(b"more")
    sealed.seal(made, FACTS)
    return made


def test_what_was_sealed_is_known_again(folder: Path, tmp_path: Path) -> None:
    assert sealed.is_sealed(folder, FACTS)
    shutil.copytree(folder, tmp_path / "copy")
    assert sealed.is_sealed(tmp_path / "copy", FACTS)
    (folder / "third").write_bytes(b"")
    sealed.seal(folder, FACTS)
    assert sealed.is_sealed(folder, FACTS)


def change(folder: Path) -> None:
    (folder / "code.so").write_bytes(b"Code")


def add(folder: Path) -> None:
    (folder / "below" / "extra.so").write_bytes(b"")


def take_away(folder: Path) -> None:
    (folder / "below" / "more.bin").unlink()


def link(folder: Path) -> None:
    shutil.move(folder / "code.so", folder.parent / "elsewhere")
    (folder / "code.so").symlink_to(folder.parent / "elsewhere")


def unseal(folder: Path) -> None:
    (folder / sealed.SEAL).unlink()


def cut(folder: Path) -> None:
    seal = folder / sealed.SEAL
    seal.write_bytes(seal.read_bytes()[:-9])


def rehash(folder: Path) -> None:
    """Change a file and correct its hash, as whoever can write there could."""
    change(folder)
    seal = folder / sealed.SEAL
    told = json.loads(seal.read_text())
    told["facts"]["sha256 of code.so"] = sealed.sha256_file(folder / "code.so")
    seal.write_text(json.dumps(told))


@pytest.mark.parametrize("damage", [change, add, take_away, link, unseal, cut, rehash])
def test_what_was_changed_is_not_used(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder)
    assert not sealed.is_sealed(folder, FACTS)


def test_other_facts_are_not_these(folder: Path) -> None:
    assert not sealed.is_sealed(folder, {**FACTS, "device": "cuda"})
    assert not sealed.is_sealed(folder, {"torch": "2.14"})
    assert sealed.name_of(FACTS) != sealed.name_of({**FACTS, "device": "cuda"})


def test_another_machine_does_not_use_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSCAM_DATA", str(tmp_path / "other"))
    assert not sealed.is_sealed(folder, FACTS)
    own = tmp_path / "own"
    own.mkdir()
    sealed.seal(own, FACTS)  # which gives that machine a secret of its own
    assert sealed.is_sealed(own, FACTS)
    assert not sealed.is_sealed(folder, FACTS)


def test_a_secret_that_others_can_read_is_none(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "data" / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.chmod(0o644)
    assert not sealed.is_sealed(folder, FACTS)
    sealed.seal(folder, FACTS)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert sealed.is_sealed(folder, FACTS)
