"""Bundles: what is written is read back; anything changed, unsafe or endless is refused."""

from __future__ import annotations

import errno
import json
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosscam_deploy import bundle_zip
from crosscam_deploy.bundle import load_bundle, write_bundle
from crosscam_kernels.errors import InputError, RunError


def zip_of(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return target


def unlink_hard(file: Path) -> None:
    """Give a bundle its own copy: its files may be hard links to the source."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


def test_folder_and_zip_give_the_same_bundle(tiny, tmp_path):
    assert load_bundle(tiny.path) == tiny
    for prefix in ("", "tiny/"):
        archive = zip_of(tiny.path, tmp_path / f"b{len(prefix)}.zip", prefix)
        opened = load_bundle(archive)
        assert opened.manifest == tiny.manifest
        assert opened.model_path.read_bytes() == tiny.model_path.read_bytes()
        assert load_bundle(archive).path == opened.path  # unpacked once


def test_write_bundle_twice_keeps_the_first_and_refuses_another(tiny, tmp_path, make):
    again = write_bundle(tiny.path, tiny.manifest, {tiny.manifest.model_file: tiny.model_path})
    assert again == tiny
    other = make.write_embedder(tmp_path / "other.onnx", seed=1)
    with pytest.raises(InputError, match="already holds another bundle"):
        make.pack_embedder(tiny.path, other, name="other")


def test_wrong_hash_names_both_hashes_and_the_fix(tiny):
    unlink_hard(tiny.model_path)
    data = bytearray(tiny.model_path.read_bytes())
    data[len(data) // 2] ^= 1
    tiny.model_path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_bundle(tiny.path)
    message = str(caught.value)
    assert tiny.manifest.files[tiny.manifest.model_file] in message
    assert "has sha256" in message
    assert "download or import the model again" in message


def test_edited_preprocessing_is_noticed(tiny):
    file = tiny.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["preprocessing"]["color"] = "bgr"
    file.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="was changed"):
        load_bundle(tiny.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: (p / "manifest.json").unlink(), "has no manifest.json"),
        (lambda p: (p / "tiny.onnx").unlink(), "lacks its file"),
        (lambda p: (p / "weights.data").write_bytes(b"x"), "does not list: weights.data"),
        (lambda p: (p / "manifest.json").write_text("{"), "not valid"),
        (lambda p: (p / "manifest.json").write_bytes(b"\xff\xfe"), "not valid"),
        (lambda p: (p / "manifest.json").write_bytes(b" " * (2 << 20)), "larger than 1 MiB"),
    ],
)
def test_damaged_folder(tiny, change, message):
    change(tiny.path)
    with pytest.raises(InputError, match=message):
        load_bundle(tiny.path)


def test_links_are_refused(tiny, tmp_path):
    outside = tmp_path / "outside.onnx"
    outside.write_bytes(tiny.model_path.read_bytes())
    tiny.model_path.unlink()
    tiny.model_path.symlink_to(outside)
    with pytest.raises(InputError, match="is a link"):
        load_bundle(tiny.path)


def test_missing_path(tmp_path):
    with pytest.raises(InputError, match="no bundle at"):
        load_bundle(tmp_path / "nowhere")


def test_damaged_copy_of_a_zip_is_unpacked_again(tiny, tmp_path):
    archive = zip_of(tiny.path, tmp_path / "b.zip")
    copy = load_bundle(archive)
    copy.model_path.write_bytes(b"x")
    assert load_bundle(archive).model_path.read_bytes() == tiny.model_path.read_bytes()


def test_full_disk(tiny, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("crosscam_deploy.bundle._link_or_copy", full)
    sources = {tiny.manifest.model_file: tiny.model_path}
    with pytest.raises(RunError, match="No space left"):
        write_bundle(tmp_path / "new", tiny.manifest, sources)
    assert not [p for p in tmp_path.iterdir() if "new" in p.name]
    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(RunError, match="No space left"):
        load_bundle(zip_of(tiny.path, tmp_path / "b.zip"))


def build_zip(target: Path, members: list[tuple[zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in members:
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return target


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "c:evil", "a\\..\\evil"])
def test_zip_members_that_point_outside(tiny, tmp_path, name):
    manifest = (tiny.path / "manifest.json").read_bytes()
    members = [(zipfile.ZipInfo("manifest.json"), manifest), (zipfile.ZipInfo("x"), b"x")]
    members[1][0].filename = name
    archive = build_zip(tmp_path / "evil.zip", members)
    with pytest.raises(InputError, match="points outside"):
        load_bundle(archive)
    assert not list(tmp_path.glob("**/evil"))


def test_zip_with_a_link(tiny, tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    manifest = (tiny.path / "manifest.json").read_bytes()
    members = [(zipfile.ZipInfo("manifest.json"), manifest), (link, b"/etc/passwd")]
    with pytest.raises(InputError, match="link or a device"):
        load_bundle(build_zip(tmp_path / "link.zip", members))


def test_zip_bomb(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_zip, "RATIO_FREE_BYTES", 1 << 20)
    manifest = (tiny.path / "manifest.json").read_bytes()
    bomb = (zipfile.ZipInfo("zeros"), bytes(8 << 20))
    members = [(zipfile.ZipInfo("manifest.json"), manifest), bomb]
    with pytest.raises(InputError, match="unpacks to more than"):
        load_bundle(build_zip(tmp_path / "bomb.zip", members))
    assert not [p for p in (tmp_path / "cache" / "bundles").iterdir() if p.is_dir()]


def test_zip_with_too_many_or_equal_names(tiny, tmp_path):
    manifest = (tiny.path / "manifest.json").read_bytes()
    many = [(zipfile.ZipInfo("manifest.json"), manifest)]
    many += [(zipfile.ZipInfo(f"f{i}"), b"") for i in range(80)]
    with pytest.raises(InputError, match="81 files"):
        load_bundle(build_zip(tmp_path / "many.zip", many))
    twice = [(zipfile.ZipInfo(name), manifest) for name in ("manifest.json", "Manifest.json")]
    with pytest.raises(InputError, match="names a file twice"):
        load_bundle(build_zip(tmp_path / "twice.zip", twice))


def test_encrypted_zip(tiny, tmp_path):
    archive = zip_of(tiny.path, tmp_path / "plain.zip")
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            flags = struct.unpack_from("<H", data, at + offset)[0]
            struct.pack_into("<H", data, at + offset, flags | 1)
            at = data.find(signature, at + 4)
    archive.write_bytes(data)
    with pytest.raises(InputError, match="is encrypted"):
        load_bundle(archive)


@pytest.fixture(scope="module")
def healthy_zip(tmp_path_factory, make):
    folder = tmp_path_factory.mktemp("fuzz")
    bundle = make.pack_embedder(folder / "b", make.write_embedder(folder / "tiny.onnx"))
    return bundle, zip_of(bundle.path, folder / "b.zip").read_bytes()


_FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check_hostile(data: bytes, tmp_path: Path, bundle) -> None:
    """Whatever the bytes are: an error that a user can read, or the true bundle."""
    archive = tmp_path / "fuzzed.zip"
    archive.write_bytes(data)
    try:
        opened = load_bundle(archive)
    except InputError as error:
        refused = error
    else:
        assert opened.model_id == bundle.model_id
        assert opened.model_path.read_bytes() == bundle.model_path.read_bytes()
        return
    assert refused.found
    assert refused.fix


@_FUZZ
@given(data=st.binary(max_size=400))
def test_random_bytes(data, tmp_path, healthy_zip):
    check_hostile(data, tmp_path, healthy_zip[0])


@_FUZZ
@given(fraction=st.floats(0, 1))
def test_truncated_zip(fraction, tmp_path, healthy_zip):
    bundle, data = healthy_zip
    check_hostile(data[: int(len(data) * fraction)], tmp_path, bundle)


@_FUZZ
@given(flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 7)), min_size=1, max_size=6))
def test_flipped_bits(flips, tmp_path, healthy_zip):
    bundle, original = healthy_zip
    data = bytearray(original)
    for position, bit in flips:
        data[int(position * len(data))] ^= 1 << bit
    check_hostile(bytes(data), tmp_path, bundle)
