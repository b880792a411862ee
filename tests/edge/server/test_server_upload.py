"""Pictures that clients send: what they say of themselves is read before they are decoded."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from crosscam_edge.server.errors import RefusedError
from crosscam_edge.server.upload import MOST_PIXELS, decode, size_of

WAYS = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "grey": ("JPEG", {"mode": "L"}),
    "png": ("PNG", {}),
    "see-through png": ("PNG", {"mode": "RGBA"}),
    "palette": ("PNG", {"mode": "P"}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "see-through webp": ("WEBP", {"mode": "RGBA"}),
}


def picture(kind="PNG", *, size=(37, 53), mode="RGB", **more):
    image = Image.new("RGB", size, (200, 40, 30)).convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def painted(size=(50, 70)):
    """A picture whose corners differ."""
    y, x = np.mgrid[: size[1], : size[0]]
    paint = np.stack([x * 5, y * 3, 128 + 100 * np.sin(x / 9) * np.cos(y / 7)], -1)
    return Image.fromarray(paint.clip(0, 255).astype(np.uint8))


def png_of(width, height):
    """A PNG of some hundred bytes that says that it is so large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def refused(data):
    with pytest.raises(RefusedError) as caught:
        decode(data)
    return caught.value.status, caught.value.error


@pytest.mark.parametrize("way", WAYS)
def test_pictures_are_what_they_say(way):
    kind, more = WAYS[way]
    data = picture(kind, **more)
    assert size_of(data) == (37, 53)
    image = decode(data)
    assert image.shape == (53, 37, 3)
    if way != "grey":
        assert image[20, 20].astype(int) == pytest.approx([30, 40, 200], abs=25)  # BGR


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_it_says(kind, number):
    found, turned, out = painted(), Image.Exif(), io.BytesIO()
    turned[0x0112] = number
    found.save(out, kind, exif=turned)
    assert size_of(out.getvalue()) == found.size
    seen = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue()))))[..., ::-1]
    image = decode(out.getvalue())
    assert image.shape == seen.shape
    assert np.abs(image.astype(int) - seen).mean() < 3


@pytest.mark.parametrize(
    "more",
    [
        {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True},
        {"optimize": True}, {"restart_marker_rows": 1}, {"keep_rgb": True}, {"mode": "L"},
        {"mode": "CMYK"}, {"quality": 30}, {"quality": 100},
    ],
)  # fmt: skip
def test_jpegs_of_every_usual_kind_are_read(more):
    out = io.BytesIO()
    more = dict(more)
    painted().convert(more.pop("mode", "RGB")).save(out, "JPEG", **more)
    seen = np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGB"))[..., ::-1]
    image = decode(out.getvalue())
    assert image.shape == seen.shape
    assert np.abs(image.astype(int) - seen).mean() < 4


@pytest.mark.parametrize("way", WAYS)
def test_of_damage_within_a_picture_nothing_is_said(way, capfd):
    """Much of it cannot be told from a picture of something else; what can be is refused."""
    kind, more = WAYS[way]
    out = io.BytesIO()
    more = dict(more)
    painted().convert(more.pop("mode", "RGB")).save(out, kind, **more)
    data, told, rng = out.getvalue(), [], np.random.default_rng(5)
    for at in rng.integers(len(data) // 4, len(data) - 12, 150):
        damaged = bytearray(data)
        damaged[at] ^= 0x55
        try:
            told.append(decode(bytes(damaged)).shape)
        except RefusedError as error:
            told.append(error.error)
    assert set(told) <= {(70, 50, 3), "not_a_picture"}
    assert "not_a_picture" in told
    assert capfd.readouterr() == ("", "")


def test_too_many_pixels_are_refused_before_they_are_decoded():
    began = time.perf_counter()
    assert refused(png_of(60_000, 60_000)) == (413, "too_large")
    assert refused(png_of(MOST_PIXELS // 16 + 1, 16)) == (413, "too_large")
    jpeg = bytearray(picture("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_535, 65_535)
    assert refused(bytes(jpeg)) == (413, "too_large")
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("size", [(5000, 5000), (16, 65_500), (65_500, 16), (65_500, 381)])
def test_the_largest_pictures_are_read(size):
    assert decode(picture("JPEG", size=size)).shape == (size[1], size[0], 3)


def test_a_jpeg_that_becomes_larger_later_is_refused(capfd):
    data, large = picture("JPEG"), bytearray(picture("JPEG", size=(65_000, 384)))
    at = large.index(b"\xff\xc0")
    large[at + 5 : at + 7] = struct.pack(">H", 65_000)
    assert refused(data[:-2] + bytes(large[2:])) == (422, "not_a_picture")
    end = data.index(b"\xff\xda")  # before anything is painted
    assert refused(data[:end] + bytes(large[at:])) == (422, "not_a_picture")
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_that_is_painted_over_and_over_is_refused():
    data = picture("JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    assert refused(data[:at] + scan * 200 + data[-2:]) == (422, "not_a_picture")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"GIF89a" + bytes(50), b"BM" + bytes(100), b"<svg/>", b"\xff\xd8\xff",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ", picture()[:60], picture("JPEG")[:200],
        picture("WEBP")[:40], png_of(100, 100), picture(size=(300, 8)), png_of(0, 10),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_told_so(data):
    assert refused(data) == (422, "not_a_picture")


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_that_ends_anywhere_is_refused_and_nothing_else_is_said(way, capfd):
    """Decoders of C write to the standard error of the run, where people look for other things."""
    kind, more = WAYS[way]
    data = picture(kind, **more)
    told = set()
    for end in range(len(data)):
        try:
            told.add(decode(data[:end]).shape)
        except RefusedError as error:
            told.add(error.error)
    assert told == {"not_a_picture"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("way", [way for way, (kind, _) in WAYS.items() if kind == "PNG"])
def test_a_damaged_png_is_refused_and_nothing_else_is_said(way, capfd):
    kind, more = WAYS[way]
    data = picture(kind, **more)
    for at in range(8, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x15
        with pytest.raises(RefusedError):
            decode(bytes(damaged))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_after_a_picture_does_not_matter(way):
    kind, more = WAYS[way]
    assert decode(picture(kind, **more) + b"\xff\xd9\xff\xda" + bytes(7)).shape == (53, 37, 3)


def test_a_jpeg_that_ends_after_its_thumbnail_is_refused(capfd):
    data = picture("JPEG")
    small = b"Exif\0\0" + picture("JPEG", size=(20, 20))
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + data[2:]
    assert decode(whole).shape == (53, 37, 3)
    assert refused(whole[:-2]) == (422, "not_a_picture")
    assert capfd.readouterr() == ("", "")


@given(st.sampled_from(sorted(WAYS)), st.data())
def test_damaged_pictures_are_decoded_or_refused(way, data):
    kind, more = WAYS[way]
    found = bytearray(picture(kind, **more))
    for _ in range(data.draw(st.integers(1, 4))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(found))
    except RefusedError as error:
        told = error.status
    else:
        told = image.ndim
        assert image.dtype == np.uint8
    assert told in (413, 422, 3)
