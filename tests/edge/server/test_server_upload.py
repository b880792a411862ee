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
from PIL import Image

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


def test_a_picture_is_turned_as_it_says():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = picture("JPEG", size=(64, 32), exif=turned)
    assert size_of(data) == (64, 32)
    assert decode(data).shape == (64, 32, 3)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    began = time.perf_counter()
    assert refused(png_of(60_000, 60_000)) == (413, "too_large")
    assert refused(png_of(MOST_PIXELS // 16 + 1, 16)) == (413, "too_large")
    jpeg = bytearray(picture("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_535, 65_535)
    assert refused(bytes(jpeg)) == (413, "too_large")
    assert time.perf_counter() - began < 1.0


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
