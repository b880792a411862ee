"""``install.sh`` on releases that are whole, tampered with, signed by the wrong key, or unfit.

The release is small (a package of one file in the place of crosscam) but made, summed and signed by
the real tool, and installed by the real pip.
"""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

PACKAGING = Path(__file__).parents[2] / "packaging"
GOOD, BAD = "raise SystemExit(0)", "raise SystemExit(4)"


def _load() -> ModuleType:
    path = PACKAGING / "air-gapped" / "wheelhouse.py"
    spec = importlib.util.spec_from_file_location("wheelhouse", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheelhouse = _load()


def _wheel(folder: Path, version: str, doctor: str) -> Path:
    """A wheel with the command `crosscam`, which says its version or what its doctor thinks."""
    code = (
        f"import sys\ndef main():\n    if 'doctor' in sys.argv: {doctor}\n    print('{version}')\n"
    )
    info = f"crosscam-{version}.dist-info"
    files = {
        "crosscam_small.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: crosscam\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ncrosscam = crosscam_small:main\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{name},sha256={digest.decode()},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"crosscam-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def _release(folder: Path, version: str = "1.0", doctor: str = GOOD) -> Path:
    for name in ("wheels", "models", "extras"):
        (folder / name).mkdir(parents=True)
    wheel = _wheel(folder / "wheels", version, doctor)
    (bundled,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    shutil.copy2(bundled, folder / "wheels")
    (folder / "models" / "net.zip").write_bytes(b"weights")
    shutil.copy2(PACKAGING / "bin" / "crosscam-nightly", folder / "extras")
    shutil.copy2(PACKAGING / "air-gapped" / "install.sh", folder)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "requirements.txt").write_text(f"crosscam=={version} --hash=sha256:{digest}\n")
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    release = {"version": version, "python": python, "machine": platform.machine()}
    (folder / "release.json").write_text(json.dumps(release))
    wheelhouse.write_sums(folder)
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return _release(tmp_path / "release one")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "opt"


def _install(release: Path, prefix: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    # no index can be reached, and the user's own settings of pip must not matter
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(
        [release / "install.sh", "--prefix", prefix, "--python", sys.executable, *flags],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def _refused(done: subprocess.CompletedProcess[str], prefix: Path, found: str) -> None:
    assert done.returncode == 3, done.stdout + done.stderr
    assert found in done.stderr
    assert "nothing was installed" in done.stderr
    assert not prefix.exists()


def _says(prefix: Path) -> str:
    done = subprocess.run([prefix / "bin/crosscam"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_whole_release_is_installed_and_the_next_takes_its_place(
    release: Path, prefix: Path, tmp_path: Path
) -> None:
    done = _install(release, prefix)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _says(prefix) == "1.0"
    assert (prefix / "current/share/crosscam/models/net.zip").read_bytes() == b"weights"
    assert os.access(prefix / "bin/crosscam-nightly", os.X_OK)
    assert "installed already" in _install(release, prefix).stdout

    # a release whose doctor is not content is not taken into use, and leaves nothing
    bad = _install(_release(tmp_path / "bad", "1.1", BAD), prefix)
    assert bad.returncode == 4
    assert _says(prefix) == "1.0"
    assert len(list((prefix / "releases").iterdir())) == 1

    assert _install(_release(tmp_path / "next", "1.2"), prefix).returncode == 0
    assert _says(prefix) == "1.2"
    assert len(list((prefix / "releases").iterdir())) == 2  # the one before is still there


def test_a_tampered_wheel_is_refused_before_anything_is_installed(
    release: Path, prefix: Path
) -> None:
    (wheel,) = (release / "wheels").glob("crosscam-*.whl")
    data = bytearray(wheel.read_bytes())
    data[60] ^= 1
    wheel.write_bytes(data)
    _refused(_install(release, prefix), prefix, f"wheels/{wheel.name}")


def test_a_file_that_is_not_listed_is_refused(release: Path, prefix: Path) -> None:
    _wheel(release / "wheels", "9.9", GOOD)
    _refused(_install(release, prefix), prefix, "does not list")


def test_a_file_that_is_missing_is_refused(release: Path, prefix: Path) -> None:
    (release / "models" / "net.zip").unlink()
    _refused(_install(release, prefix), prefix, "missing")


def test_a_link_in_the_place_of_a_file_is_refused(release: Path, prefix: Path) -> None:
    weights = release / "models" / "net.zip"
    weights.rename(release.parent / "net.zip")
    weights.symlink_to(release.parent / "net.zip")
    _refused(_install(release, prefix), prefix, "./models/net.zip")


def test_sums_with_a_line_that_is_none_are_refused(release: Path, prefix: Path) -> None:
    with (release / "SHA256SUMS").open("a") as sums:
        sums.write("no sum at all\n")
    _refused(_install(release, prefix), prefix, "SHA256SUMS")


@pytest.mark.parametrize(("key", "value"), [("python", "3.2"), ("machine", "vax")])
def test_a_release_for_another_machine_is_refused(
    release: Path, prefix: Path, key: str, value: str
) -> None:
    path = release / "release.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    wheelhouse.write_sums(release)
    _refused(_install(release, prefix), prefix, value)


def test_a_wheel_that_disagrees_with_the_lock_is_refused_by_pip_too(
    release: Path, prefix: Path
) -> None:
    lock = release / "requirements.txt"
    lock.write_text(f"crosscam==1.0 --hash=sha256:{'0' * 64}\n")
    wheelhouse.write_sums(release)
    done = _install(release, prefix)
    assert done.returncode == 4
    assert not (prefix / "current").exists()
    assert list((prefix / "releases").iterdir()) == []


class TestSignatures:
    """Who may sign is said by a file that does not come with the release."""

    @pytest.fixture
    def key(self, tmp_path: Path) -> Path:
        if shutil.which("ssh-keygen") is None:
            pytest.skip("ssh-keygen is not on this machine (Debian: package openssh-client)")
        return self._key(tmp_path / "key")

    @staticmethod
    def _key(path: Path) -> Path:
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(make, check=True)
        return path

    @staticmethod
    def _signers(key: Path, name: str = "release@crosscam") -> Path:
        signers = key.with_suffix(".signers")
        signers.write_text(f"{name} {key.with_suffix('.pub').read_text()}")
        return signers

    def test_the_right_key_is_accepted(self, release: Path, prefix: Path, key: Path) -> None:
        wheelhouse.sign(release, key)
        done = _install(release, prefix, "--signers", str(self._signers(key)))
        assert done.returncode == 0, done.stderr
        assert "signature: by release@crosscam" in done.stdout

    def test_another_key_is_refused(
        self, release: Path, prefix: Path, key: Path, tmp_path: Path
    ) -> None:
        wheelhouse.sign(release, self._key(tmp_path / "other"))
        done = _install(release, prefix, "--signers", str(self._signers(key)))
        _refused(done, prefix, "SHA256SUMS.sig")

    def test_sums_made_anew_after_the_signature_are_refused(
        self, release: Path, prefix: Path, key: Path
    ) -> None:
        wheelhouse.sign(release, key)
        (release / "models" / "net.zip").write_bytes(b"other weights")
        wheelhouse.write_sums(release)
        done = _install(release, prefix, "--signers", str(self._signers(key)))
        _refused(done, prefix, "SHA256SUMS.sig")

    def test_a_name_the_key_does_not_stand_for_is_refused(
        self, release: Path, prefix: Path, key: Path
    ) -> None:
        wheelhouse.sign(release, key)
        signers = self._signers(key, "somebody@else")
        _refused(_install(release, prefix, "--signers", str(signers)), prefix, "SHA256SUMS.sig")

    def test_no_signature_is_refused_where_one_is_expected(
        self, release: Path, prefix: Path, key: Path
    ) -> None:
        done = _install(release, prefix, "--signers", str(self._signers(key)))
        _refused(done, prefix, "no SHA256SUMS.sig")

    def test_a_signature_is_not_passed_over_unless_told(
        self, release: Path, prefix: Path, key: Path
    ) -> None:
        wheelhouse.sign(release, key)
        _refused(_install(release, prefix), prefix, "no key")
        assert _install(release, prefix, "--unsigned").returncode == 0


def test_a_bundle_is_zipped_to_the_same_bytes_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosscam_deploy.bundle import load_bundle
    from crosscam_deploy.zoo.lookup import resolve

    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))
    bundle = resolve("crosscam-reid", download=False)
    for name in ("a.zip", "b.zip"):
        wheelhouse.zip_bundle(bundle, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert load_bundle(tmp_path / "a.zip").manifest == bundle.manifest
