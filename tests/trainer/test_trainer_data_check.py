"""Broken sets are told precisely, whole ones pass, and the command says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import data_trees as trees
import pytest
from test_trainer_data_readers import TREES

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.data import figures as figures_module
from crosscam_trainer.data.check import Report, check
from crosscam_trainer.data.figures import PUBLISHED, Published, figures
from crosscam_trainer.data.findings import Finding
from crosscam_trainer.data.readers.generic import GenericLayout
from crosscam_trainer.data.registry import KINDS, load
from crosscam_trainer.data.splits import PersonSplit


def found(report: Report, code: str) -> Finding:
    (finding,) = [item for item in report.findings.items if item.code == code]
    return finding


@pytest.mark.parametrize("kind", TREES)
def test_every_tree_is_sound_as_a_part(kind: str, tmp_path: Path) -> None:
    report = check(TREES[kind](tmp_path), kind, pictures="all", published=False)
    assert report.ok, report.findings.items
    assert report.pictures_read == report.figures["pictures"] > 0


def test_figures_of_market(tmp_path: Path) -> None:
    report = check(trees.market(tmp_path), published=False)
    assert report.figures == {
        "junk": 1,
        "train.pictures": 4, "train.people": 2, "train.cameras": 3,
        "query.pictures": 2, "query.people": 2, "query.cameras": 2,
        "gallery.pictures": 3, "gallery.people": 2, "gallery.cameras": 2,
        "gallery.distractors": 1,
        "test.pictures": 5, "test.people": 2, "test.cameras": 2, "test.distractors": 1,
        "pictures": 9, "people": 4, "cameras": 3, "distractors": 1,
    }  # fmt: skip
    assert found(report, "no-answer").count == 1  # person 3 was seen by camera 2 only


def test_a_picture_that_is_query_and_gallery_counts_once(tmp_path: Path) -> None:
    trees.generic(tmp_path, people=4, views=1)
    counts = figures(load(tmp_path, layout=GenericLayout("{person}/{camera}_{view}.png")))
    assert counts["query.pictures"] == counts["gallery.pictures"] == 4
    assert counts["test.pictures"] == 4
    assert counts["pictures"] == 8


def test_counts_are_compared_with_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.market(tmp_path)
    report = check(tmp_path)
    wrong = {f.found: f for f in report.findings.items if f.code == "count"}
    assert wrong["train.pictures: 4"].expected == "12936 in the complete set"
    assert wrong["train.pictures: 4"].severity == "error"
    assert "junk: 1" in wrong
    assert not report.ok
    monkeypatch.setitem(PUBLISHED, "market1501", Published({"cameras": 3}, {"people": 5}))
    close = check(tmp_path)
    assert close.ok
    assert found(close, "count").severity == "warning"


def test_published_figures_agree_with_themselves() -> None:
    """Where parts and sums are both published, they add up."""
    assert set(PUBLISHED) <= set(KINDS)
    prcc, vc = PUBLISHED["prcc"], PUBLISHED["vc-clothes"]
    parts = prcc.unsure["query.pictures"] + prcc.unsure["gallery.pictures"]
    assert parts == prcc.sure["test.pictures"]
    assert sum(vc.unsure.values()) == vc.sure["pictures"]
    market = PUBLISHED["market1501"].sure
    assert market["gallery.pictures"] + market["junk"] == 19_732
    ccvid = PUBLISHED["ccvid"]
    assert sum(ccvid.unsure.values()) == ccvid.sure["tracklets"]
    assert figures_module.SPLIT_GROUPS[0] == "train"


def _drop(name: str) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def _write(name: str, content: bytes | str) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (root / name).write_bytes(data)

    return do


def _empty(name: str) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        shutil.rmtree(root / name)
        (root / name).mkdir()

    return do


@pytest.mark.parametrize(
    ("kind", "harm", "code", "says"),
    [
        ("market1501", _drop("query"), "missing-folder", "query is not in"),
        ("market1501", _empty("query"), "empty-folder", "query holds no pictures"),
        (
            "market1501",
            lambda root: trees.pictures(root, "query/5_camera1.jpg"),
            "wrong-name",
            "1 file with a name of another form: query/5_camera1.jpg",
        ),
        (
            "market1501",
            lambda root: trees.pictures(root, "query/0000_c1s1_000001_00.jpg"),
            "misplaced-distractor",
            "query/0000_c1s1_000001_00.jpg",
        ),
        (
            "market1501",
            lambda root: trees.pictures(root, "query/0002_c1s1_000001_00.jpg"),
            "person-in-both",
            "1 people are trained on and tested: 0002",
        ),
        ("msmt17", _drop("list_query.txt"), "missing-file", "list_query.txt is not in"),
        ("msmt17", _drop("test"), "missing-folder", "the folders of pictures"),
        (
            "msmt17",
            _drop("train/0001/0001_000_02_0303noon_0001_1.jpg"),
            "missing-image",
            "1 file listed in list_val.txt but not there: train/0001/0001_000_02",
        ),
        (
            "msmt17",
            _write("list_query.txt", "0000/0000_000_02_a.jpg zero\n"),
            "bad-line",
            "1 line cannot be read: list_query.txt:1",
        ),
        (
            "cuhk03-detected",
            _write("cuhk03_new_protocol_config_detected.mat", b"not a matrix"),
            "bad-file",
            "cannot be read",
        ),
        (
            "cuhk03-detected",
            _drop("images_detected/1_001_1_01.png"),
            "missing-image",
            "images_detected/1_001_1_01.png",
        ),
        ("cuhk03-detected", _drop("images_detected"), "missing-folder", "images_detected"),
        ("prcc", _drop("rgb/test/B"), "missing-folder", "test/B is not in"),
        ("prcc", _empty("rgb/test/B"), "empty-folder", "test/B holds no folders of people"),
        (
            "prcc",
            lambda root: trees.pictures(root, "rgb/train/001/D_1.jpg"),
            "wrong-name",
            "train/001/D_1.jpg",
        ),
        (
            "ltcc",
            lambda root: trees.pictures(root, "test/12_c3_4.png"),
            "wrong-name",
            "test/12_c3_4.png",
        ),
        (
            "deepchange",
            _write("test-set-query-bbox.txt", "P9_C1_T1_000.jpg\n"),
            "bad-line",
            "test-set-query-bbox.txt:1",
        ),
        (
            "deepchange",
            _drop("train-set/P1_C1_T1_000.jpg"),
            "missing-image",
            "train-set/P1_C1_T1_000.jpg",
        ),
        ("last", _drop("val/gallery"), "missing-folder", "val/gallery is not in"),
        ("ccvid", _write("query.txt", "session1/076_01 076\n"), "bad-line", "query.txt:1"),
        ("ccvid", _empty("session1/001_01"), "missing-image", "session1/001_01"),
        ("site", _write("dataset.json", "{}"), "bad-file", "dataset.json: schema_version"),
        ("site", _write("crops.jsonl", '{"file": "a.jpg"}\n'), "bad-line", "crops.jsonl:1 (camera"),
        (
            "site",
            _write("crops.jsonl", '{"file": "../a.jpg", "camera": "x", "person": "1"}\n'),
            "bad-line",
            "relative to the folder",
        ),
        ("site", _drop("crops/Hall/2/1.jpg"), "missing-image", "crops/Hall/2/1.jpg"),
        ("simulated", _write("people.json", "{"), "bad-file", "people.json or site.yaml"),
        (
            "simulated",
            lambda root: trees.pictures(root / "crops", "query/0009_c1s1_000001_00.jpg"),
            "unknown-label",
            "0009_c1s1_000001_00.jpg",
        ),
        (
            "vc-clothes",
            lambda root: shutil.copy(
                root / "train/0001-01-01-01.jpg", root / "train/0002-01-01-09.jpg"
            ),
            "same-picture-two-people",
            "train/0001-01-01-01.jpg = train/0002-01-01-09.jpg",
        ),
        (
            "vc-clothes",
            lambda root: shutil.copy(
                root / "train/0001-01-01-01.jpg", root / "query/0003-01-02-09.jpg"
            ),
            "leak",
            "query/0003-01-02-09.jpg",
        ),
        (
            "ltcc",
            _write("train/002_1_c9_000001.png", b""),
            "unreadable",
            "train/002_1_c9_000001.png is empty",
        ),
        (
            "ltcc",
            _write("train/002_1_c9_000001.png", b"some text"),
            "unreadable",
            "is not a picture",
        ),
    ],
)  # fmt: skip
def test_broken_sets(
    kind: str, harm: Callable[[Path], None], code: str, says: str, tmp_path: Path
) -> None:
    root = TREES[kind](tmp_path)
    harm(root)
    report = check(root, kind, pictures="all", published=False)
    finding = found(report, code)
    assert finding.severity == "error"
    assert says in finding.found
    assert finding.expected or finding.fix
    assert not report.ok
    if code not in ("unreadable", "leak", "same-picture-two-people", "person-in-both"):
        with pytest.raises(InputError, match=r"What to do|Expected"):
            load(root, kind)


def test_cut_off_pictures_are_found(tmp_path: Path) -> None:
    root = trees.market(tmp_path)
    path = trees.picture(root / "query/0001_c1s1_000111_00.jpg", width=64, height=128)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    report = check(root, pictures="all", published=False)
    assert "0001_c1s1_000111_00.jpg is cut off" in found(report, "unreadable").found


def test_copies_of_the_same_person_are_only_noted(tmp_path: Path) -> None:
    root = trees.vc_clothes(tmp_path)
    shutil.copy(root / "train/0001-01-01-01.jpg", root / "train/0001-01-01-02.jpg")
    report = check(root, pictures="all", published=False)
    assert report.ok
    assert found(report, "copies").severity == "note"


def test_masks_must_fit_their_pictures(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"file": "a.png", "camera": "x", "person": "1", "mask": "m/a.png"},
        {"file": "b.png", "camera": "y", "person": "1", "mask": "m/b.png"},
    ]
    root = trees.site(tmp_path, "global", rows)
    trees.picture(root / "m/a.png")
    trees.picture(root / "m/b.png", width=20)
    finding = found(check(root), "bad-mask")
    assert finding.found == "1 mask unfit for use: m/b.png has 20x24 pixels, its picture 12x24"


def test_one_camera_people_are_told(tmp_path: Path) -> None:
    trees.pictures(tmp_path, "1/a_1.png", "2/b_1.png", "3/a_1.png", "3/b_1.png")
    layout = GenericLayout("{person}/{camera}_{view}.png", PersonSplit(1.0))
    finding = found(check(tmp_path, layout=layout), "one-camera")
    assert (finding.severity, finding.count) == ("note", 2)
    shutil.rmtree(tmp_path / "3")
    assert found(check(tmp_path, layout=layout), "one-camera").severity == "warning"


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        check(tmp_path / "nowhere")
    with pytest.raises(InputError, match="looks like no data set"):
        check(tmp_path)
    with pytest.raises(UsageError, match="'market' is not known"):
        check(tmp_path, "market")
    with pytest.raises(UsageError, match="without a pattern"):
        check(tmp_path, "generic")
    with pytest.raises(UsageError, match="with a pattern"):
        check(tmp_path, "ltcc", GenericLayout("{person}.png"))
    trees.cuhk03_np(tmp_path, "labeled")
    trees.cuhk03_np(tmp_path, "detected")
    with pytest.raises(InputError, match="could be cuhk03-detected or cuhk03-labeled"):
        check(tmp_path)


def test_generic_layouts_that_do_not_fit(tmp_path: Path) -> None:
    trees.pictures(tmp_path, "1/a_1.png", "1/b_1.png", "2/a-1.png", "cover.png")
    report = check(tmp_path, layout=GenericLayout("{person}/{camera}_{view}.png"))
    assert found(report, "wrong-name").count == 2
    assert "cover.png, 2/a-1.png" in found(report, "wrong-name").found
    report = check(tmp_path, layout=GenericLayout("{split}/{camera}_{person}.png"))
    assert "1/a_1.png (1)" in found(report, "unknown-split").found
    (tmp_path / "cover.png").unlink()
    shutil.rmtree(tmp_path / "2")
    split = PersonSplit(query="cameras", query_cameras=("z",))
    with pytest.raises(UsageError, match=r"no picture is of the camera 'z'.*a, b"):
        load(tmp_path, layout=GenericLayout("{person}/{camera}_{view}.png", split))


def test_endings_that_differ_need_a_pattern_for_all(tmp_path: Path) -> None:
    trees.pictures(tmp_path, "1/a_1.png", "1/b_1.PNG", "2/a_1.jpg", "2/b_1.jpeg")
    wrong = found(
        check(tmp_path, layout=GenericLayout("{person}/{camera}_{view}.png")), "wrong-name"
    )
    assert wrong.count == 2
    assert "{person}/{camera}_{view}.{ext}" in wrong.fix
    every = load(tmp_path, layout=GenericLayout("{person}/{camera}_{view}.{ext}"))
    assert sorted(every.people) == ["1", "2"]


def test_cameras_with_underscores_are_not_cut_silently(tmp_path: Path) -> None:
    cameras = ("hall_1", "hall_2", "yard")
    names = [f"{p}/{c}_{v}.png" for p in range(4) for c in cameras for v in range(3)]
    trees.pictures(tmp_path, *names)
    warned = found(
        check(tmp_path, layout=GenericLayout("{person}/{camera}_{view}.png")), "ambiguous-name"
    )
    assert warned.severity == "warning"
    assert warned.count == 24
    assert "camera 'hall', where it could be camera 'hall_1'" in warned.found
    exact = GenericLayout("{person}/{camera}_{view:digits}.png")
    assert load(tmp_path, layout=exact).cameras == cameras
    assert not check(tmp_path, layout=exact).findings.items


def test_numbers_of_frames_are_taken_for_no_camera(tmp_path: Path) -> None:
    names = [f"{p}/{c}_s1_{k:04d}.png" for k, (p, c) in enumerate(["1a", "1b", "2a", "2b"] * 3)]
    trees.pictures(tmp_path, *names)
    sequences = GenericLayout("{person}/{camera}_{_}_{frame}.png")
    assert load(tmp_path, layout=sequences).cameras == ("a", "b")
    assert not check(tmp_path, layout=sequences).findings.items
