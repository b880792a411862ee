"""Masks from files and from parsers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import data_trees as trees
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from crosscam_deploy.pictures.files import read_image
from crosscam_edge.cli.data import command
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_trainer.data.masks import (
    CLOTHES,
    LIP,
    LabelSet,
    clothes_of,
    read_mask,
    with_masks,
    write_masks,
)
from crosscam_trainer.data.readers.generic import GenericLayout
from crosscam_trainer.data.registry import load
from crosscam_trainer.data.silhouette import BOX, BoxParser, read_clothes, with_box_masks
from crosscam_trainer.data.splits import PersonSplit


def test_lip_is_the_published_order() -> None:
    assert len(LIP.classes) == 20
    assert [LIP.classes[k] for k in (0, 5, 9, 13, 19)] == [
        "background", "upper-clothes", "pants", "face", "right-shoe",
    ]  # fmt: skip
    assert sorted(LIP.clothes) == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    mask = np.array([[0, 5], [13, 12]], np.uint8)
    assert clothes_of(mask, LIP).tolist() == [[False, True], [False, True]]
    assert not clothes_of(np.full((2, 2), 255, np.uint8), CLOTHES).any()


def test_indices_of_a_palette_are_read_not_its_colours(tmp_path: Path) -> None:
    indices = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for mode in ("P", "L"):
        picture = Image.fromarray(indices)
        if mode == "P":
            picture = picture.convert("L")
            picture.putpalette([k * 7 % 256 for k in range(768)])
            assert picture.mode == "P"
        picture.save(tmp_path / f"{mode}.png")
        assert read_mask(tmp_path / f"{mode}.png", LIP).tolist() == indices.tolist()


def test_wrong_masks_are_told(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 20, np.uint8)).save(tmp_path / "high.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, says in (
        ("high", "has the class 20"),
        ("colour", "mode RGB"),
        ("text", "cannot be read"),
        ("none", "cannot be read"),
    ):
        with pytest.raises(InputError, match=says):
            read_mask(tmp_path / f"{name}.png", LIP)


@dataclass
class _Bright:
    """Calls bright pixels clothes, and remembers what it was shown."""

    labels: LabelSet = CLOTHES
    seen: list[tuple[int, ...]] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def parse(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        self.seen += [image.shape for image in images]
        if self.size is not None:
            return [np.zeros(self.size, np.uint8) for _ in images]
        return [(image.mean(2) > 128).astype(np.uint8) for image in images]


def test_a_parser_writes_masks_once(tmp_path: Path) -> None:
    data = load(trees.ltcc(tmp_path / "set"))
    folder = tmp_path / "masks"
    with pytest.raises(InputError, match="4 of 4 training pictures have no mask"):
        with_masks(data, folder)
    parser = _Bright()
    assert write_masks(data, parser, folder, batch_size=3) == 4
    (folder / "train/010_1_c9_000001.png").unlink()
    assert write_masks(data, parser, folder) == 1
    assert len(parser.seen) == 5
    masked = with_masks(data, folder)
    for sample in masked.train:
        assert sample.mask is not None
        expected = read_image(sample.path).mean(2) > 128
        assert (clothes_of(read_mask(sample.mask, CLOTHES), CLOTHES) == expected).all()
    assert not list(folder.rglob("*.part"))
    assert all(sample.mask is None for sample in masked.query)


def test_a_parser_of_another_size_is_told(tmp_path: Path) -> None:
    data = load(trees.ltcc(tmp_path / "set"))
    with pytest.raises(ShapeError, match=r"\(5, 5\)"):
        write_masks(data, _Bright(size=(5, 5)), tmp_path / "masks")
    (tmp_path / "set/train/002_1_c9_015833.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"002_1_c9_015833\.png"):
        write_masks(data, _Bright(), tmp_path / "masks")


def test_pictures_are_read_as_rgb_under_any_name(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    path = tmp_path / "Größe 人.png"
    Image.fromarray(red).save(path)
    assert (read_image(path) == red).all()


def test_the_built_in_parser_covers_a_persons_middle() -> None:
    small, large = BoxParser().parse([np.zeros((n, n // 2, 3), np.uint8) for n in (10, 100)])
    assert large.shape == (100, 50)
    assert large[18:80, 10:40].all()
    assert large.sum() == 62 * 30
    assert [row.any() for row in small] == [False] * 2 + [True] * 6 + [False] * 2


def test_a_box_needs_no_file(tmp_path: Path) -> None:
    root = trees.generic(tmp_path / "set")
    data = with_box_masks(load(root, None, GenericLayout("{person}/{camera}_{view}.png")))
    assert all(sample.mask == BOX for sample in data.train)
    assert all(sample.mask is None for sample in data.query)
    image = np.zeros((100, 50, 3), np.uint8)
    found = read_clothes(BOX, LIP, image)  # whatever the numbers of files would mean
    assert (found == BoxParser().parse([image])[0].astype(bool)).all()
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((100, 50), 5, np.uint8)).save(path)
    assert read_clothes(path, LIP, image).all()


def test_only_training_pictures_of_a_divided_set_get_masks_by_the_command(tmp_path: Path) -> None:
    root, out = trees.ltcc(tmp_path / "set"), tmp_path / "masks"
    told = CliRunner().invoke(command, ["masks", str(root), "-o", str(out)], catch_exceptions=False)
    assert told.output.startswith("4 masks made")
    assert sorted(p.parent.name for p in out.rglob("*.png")) == ["train"] * 4


def test_masks_by_the_command(tmp_path: Path) -> None:
    root, out = trees.generic(tmp_path / "set"), tmp_path / "masks"
    words = ["masks", str(root), "--pattern", "{person}/{camera}_{view}.png", "-o"]
    told = CliRunner().invoke(command, [*words, str(out)], catch_exceptions=False)
    pictures = len(list(root.rglob("*.png")))
    assert told.output.startswith(f"{pictures} masks made, 0 were there")
    seen = set()
    for seed in range(8):  # whoever is trained on
        layout = GenericLayout("{person}/{camera}_{view}.png", PersonSplit(seed=seed))
        data = with_masks(load(root, None, layout), out)
        for sample in data.train:
            assert sample.mask is not None
            assert clothes_of(read_mask(sample.mask, CLOTHES), CLOTHES).mean() > 0.2
            seen.add(sample.path)
    assert len(seen) == pictures > len(data.train)
    again = CliRunner().invoke(command, [*words, str(out)], catch_exceptions=False)
    assert again.output.startswith(f"0 masks made, {pictures} were there")
    with pytest.raises(UsageError, match="inside the data set"):
        CliRunner().invoke(command, [*words, str(root / "masks")], catch_exceptions=False)
