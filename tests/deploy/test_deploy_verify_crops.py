"""Which labels names give, and what is drawn from a large set."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.verify import Crop, read_crops
from crosscam_deploy.verify.crops import _drawn
from crosscam_kernels.errors import InputError, UsageError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def labels(root: Path, **options):
    found = read_crops(root, **options)
    return {c.path.relative_to(root).as_posix(): (c.person, c.camera, c.role) for c in found.crops}


def test_folders_of_people(tmp_path):
    root = touch(tmp_path, "007/first_1.png", "007/second_1.png", "008/first_1.jpg", ".x/a_1.png")
    assert labels(root) == {
        "007/first_1.png": ("007", "first", "both"),
        "007/second_1.png": ("007", "second", "both"),
        "008/first_1.jpg": ("008", "first", "both"),
    }
    assert read_crops(root).labelled


def test_market_and_sets_like_it(tmp_path):
    root = touch(
        tmp_path,
        "bounding_box_train/0001_c1s1_000001_00.jpg",
        "query/0002_c1s1_000451_03.jpg",
        "bounding_box_test/0002_c2s1_000451_03.jpg",
        "bounding_box_test/-1_c2s1_000451_03.jpg",
        "bounding_box_test/0000_c3s2_000451_03.jpg",
    )
    assert labels(root) == {
        "query/0002_c1s1_000451_03.jpg": ("0002", "1", "query"),
        "bounding_box_test/0002_c2s1_000451_03.jpg": ("0002", "2", "gallery"),
        "bounding_box_test/0000_c3s2_000451_03.jpg": ("0000", "3", "gallery"),
    }
    duke = touch(tmp_path / "duke", "query/0002_c1_f0044158.jpg", "gallery/0002_c5_f0044158.jpg")
    assert labels(duke)["gallery/0002_c5_f0044158.jpg"] == ("0002", "5", "gallery")
    flat = touch(tmp_path / "flat", "0001_c1s1_1_0.jpg", "0002_c2s1_1_0.jpg")
    assert labels(flat)["0001_c1s1_1_0.jpg"] == ("0001", "1", "both")


def test_a_pattern_of_ones_own(tmp_path):
    root = touch(tmp_path, "train/a-x-1.png", "query/a-x-1.png", "gallery/b-y-2.png")
    assert labels(root, pattern="{split}/{person}-{camera}-{view}.png") == {
        "query/a-x-1.png": ("a", "x", "query"),
        "gallery/b-y-2.png": ("b", "y", "gallery"),
    }
    with pytest.raises(InputError, match="do not follow the pattern"):
        read_crops(root, pattern="{person}_{camera}.png")
    with pytest.raises(UsageError, match="person"):
        read_crops(root, pattern="{camera}.png")


def test_other_names_have_no_labels(tmp_path):
    root = touch(tmp_path, "one.png", "two.png")
    assert labels(root) == {"one.png": (None, None, "both"), "two.png": (None, None, "both")}
    assert not read_crops(root).labelled
    # One person alone is nobody to be told apart from others.
    assert not read_crops(touch(tmp_path / "only", "a/x_1.png", "a/y_1.png")).labelled


@pytest.mark.parametrize("what", ["absent", "file", "empty"])
def test_what_holds_no_crops(tmp_path, what):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        read_crops(tmp_path / what)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 9))
def test_whole_people_are_drawn(people, limit, seed):
    crops = [Crop(Path(f"{k}"), str(person)) for k, person in enumerate(people)]
    drawn = _drawn(crops, limit, seed)
    assert drawn == _drawn(crops, limit, seed)
    chosen = {crop.person for crop in drawn}
    assert [c for c in crops if c.person in chosen] == list(drawn)
    assert drawn
    assert len(drawn) <= limit or len(chosen) == 1


def test_pictures_without_labels_are_drawn_one_by_one():
    crops = [Crop(Path(f"{k}")) for k in range(50)]
    assert len(_drawn(crops, 20, 0)) == 20
    assert _drawn(crops, 20, 0) != _drawn(crops, 20, 1)
    assert _drawn(crops, 0, 0) == tuple(crops)
