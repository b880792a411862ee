"""Every reader on a tiny tree with the real names: who, where, in what, and the protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import data_trees as trees
import pytest

from crosscam_trainer.data import DISTRACTOR, EvaluationProtocol, ReIDData, Sample
from crosscam_trainer.data.readers.generic import GenericLayout
from crosscam_trainer.data.registry import KINDS, load, recognise
from crosscam_trainer.data.splits import PersonSplit

TREES: dict[str, Callable[[Path], Path]] = {
    "market1501": trees.market,
    "dukemtmc": trees.duke,
    "msmt17": trees.msmt17,
    "cuhk03-detected": trees.cuhk03,
    "cuhk03-labeled": trees.cuhk03_np,
    "prcc": trees.prcc,
    "ltcc": trees.ltcc,
    "vc-clothes": trees.vc_clothes,
    "celeb-reid": trees.celeb,
    "deepchange": trees.deepchange,
    "last": trees.last,
    "ccvid": trees.ccvid,
    "site": trees.site,
    "simulated": trees.simulated,
}


def told(data: ReIDData, samples: tuple[Sample, ...]) -> list[tuple[str, str, str | None]]:
    """Person, camera and outfit by name."""
    return [
        (
            "nobody" if s.person == DISTRACTOR else data.people[s.person],
            data.cameras[s.camera],
            None if s.clothes is None else data.clothes[s.clothes],
        )
        for s in samples
    ]


@pytest.mark.parametrize("kind", TREES)
def test_kind_is_recognised_by_its_folder_and_the_one_above(kind: str, tmp_path: Path) -> None:
    TREES[kind](tmp_path / "x")
    assert recognise(tmp_path / "x") == kind
    names = KINDS[kind].folders
    if names:
        TREES[kind](tmp_path / "above" / names[0].split("/")[0])
        assert recognise(tmp_path / "above") == kind


@pytest.mark.parametrize("kind", TREES)
def test_labels_are_without_gaps_and_those_of_training_come_first(
    kind: str, tmp_path: Path
) -> None:
    data = load(TREES[kind](tmp_path))
    assert data.name == kind
    assert all(s.path.is_file() for part in data.splits().values() for s in part)
    assert {s.person for s in data.train} == set(range(data.train_people))
    everybody = {s.person for part in data.splits().values() for s in part} - {DISTRACTOR}
    assert everybody == set(range(len(data.people)))
    clothes = {s.clothes for s in data.train} - {None}
    assert clothes == set(range(data.train_clothes))
    seen = {s.camera for part in data.splits().values() for s in part}
    assert seen == set(range(len(data.cameras)))
    owner: dict[int, int] = {}
    for part in data.splits().values():
        for s in part:
            if s.clothes is not None:
                assert owner.setdefault(s.clothes, s.person) == s.person


def test_market(tmp_path: Path) -> None:
    data = load(trees.market(tmp_path))
    assert data.cameras == ("c1", "c2", "c10")
    assert data.people == ("0002", "0007", "0001", "0003")
    assert told(data, data.train) == [
        ("0002", "c1", None),
        ("0002", "c2", None),
        ("0007", "c10", None),
        ("0007", "c1", None),
    ]
    assert told(data, data.gallery) == [
        ("nobody", "c1", None),
        ("0001", "c2", None),
        ("0003", "c2", None),
    ]
    assert data.protocols == (EvaluationProtocol("standard"),)
    assert data.train[0].frame == 451


def test_duke(tmp_path: Path) -> None:
    data = load(trees.duke(tmp_path))
    assert told(data, data.train) == [("0005", "c2", None), ("0005", "c8", None)]
    assert [person for person, _, _ in told(data, data.gallery)] == ["0033", "7139"]


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_trains_on_train_and_val(folders: tuple[str, str], tmp_path: Path) -> None:
    data = load(trees.msmt17(tmp_path, folders))
    assert told(data, data.train) == [
        ("train-0000", "c1", None),
        ("train-0000", "c15", None),
        ("train-0001", "c2", None),
    ]
    assert told(data, data.query) == [("test-0000", "c2", None)]


def test_cuhk03_in_both_forms(tmp_path: Path) -> None:
    data = load(trees.cuhk03(tmp_path / "a"), "cuhk03-detected")
    assert told(data, data.train) == [
        ("0001", "c1", None),
        ("0001", "c2", None),
        ("0002", "c1", None),
    ]
    assert told(data, data.gallery) == [("0700", "c2", None), ("1467", "c2", None)]
    labeled = load(trees.cuhk03_np(tmp_path / "b"), "cuhk03-labeled")
    assert told(labeled, labeled.train) == [("0003", "c1", None), ("0003", "c2", None)]


def test_prcc(tmp_path: Path) -> None:
    data = load(trees.prcc(tmp_path))
    assert told(data, data.train) == [
        ("001", "A", "001/AB"),
        ("001", "B", "001/AB"),
        ("001", "C", "001/C"),
        ("005", "A", "005/AB"),
    ]
    assert {camera for _, camera, _ in told(data, data.gallery)} == {"A"}
    a, b, c = (data.cameras.index(name) for name in "ABC")
    assert data.protocols[0] == EvaluationProtocol(
        "clothes-changing", query_cameras=(c,), gallery_cameras=(a,)
    )
    assert data.protocols[3] == EvaluationProtocol(
        "same-clothes, single-shot",
        query_cameras=(b,),
        gallery_cameras=(a,),
        gallery_shots="one",
        trials=10,
    )


def test_ltcc(tmp_path: Path) -> None:
    data = load(trees.ltcc(tmp_path))
    assert told(data, data.train) == [
        ("002", "c10", "002/1"),
        ("002", "c9", "002/1"),
        ("002", "c9", "002/2"),
        ("010", "c9", "010/1"),
    ]
    assert [p.clothes for p in data.protocols] == ["changed", "any"]


def test_vc_clothes(tmp_path: Path) -> None:
    data = load(trees.vc_clothes(tmp_path))
    assert told(data, data.query) == [("0003", "c1", "0003/02"), ("0003", "c3", "0003/02")]
    by_name = {p.name: p for p in data.protocols}
    cameras = by_name["clothes-changing"].query_cameras
    assert cameras is not None
    assert [data.cameras[k] for k in cameras] == ["c3", "c4"]
    assert by_name["clothes-changing"].gallery_cameras == cameras


def test_celeb_people_of_the_halves_are_different(tmp_path: Path) -> None:
    data = load(trees.celeb(tmp_path / "celeb"))
    assert told(data, data.train)[0][0] == "train-1"
    assert told(data, data.query)[0][0] == told(data, data.gallery)[0][0] == "test-1"
    assert data.protocols[0].same_view == "none"
    assert not data.has_clothes
    light = load(trees.celeb(tmp_path / "Celeb-reID-light"))
    assert light.name == "celeb-reid-light"
    assert light.train_clothes == len(light.train) == 3
    assert len(light.clothes) == 6


def test_deepchange(tmp_path: Path) -> None:
    data = load(trees.deepchange(tmp_path))
    assert told(data, data.train) == [
        ("train-P1", "C1", "train-P1/T1"),
        ("train-P1", "C2", "train-P1/T1"),
        ("train-P1", "C2", "train-P1/T2"),
    ]
    assert data.query[0].tracklet == data.gallery[0].tracklet != data.gallery[1].tracklet
    assert len(data.val_query) == len(data.val_gallery) == 1
    assert data.protocols == (EvaluationProtocol("standard", same_view="tracklet"),)


def test_last_has_outfits_in_training_only(tmp_path: Path) -> None:
    data = load(trees.last(tmp_path))
    assert told(data, data.train) == [
        ("train-000001", "unknown", "train-000001/0"),
        ("train-000001", "unknown", "train-000001/1"),
        ("train-000002", "unknown", "train-000002/0"),
    ]
    assert [p for p, _, _ in told(data, data.gallery)] == ["test-000001", "test-000009"]
    assert all(s.clothes is None for s in data.query + data.gallery + data.val_gallery)


def test_ccvid_cameras_of_the_third_session_are_others(tmp_path: Path) -> None:
    data = load(trees.ccvid(tmp_path))
    assert told(data, data.train)[::2] == [
        ("001", "c1", "001/u0_l0"),
        ("001", "c14", "001/u1_l0"),
    ]
    assert len({s.tracklet for s in data.train}) == 2
    assert [s.frame for s in data.train] == [0, 1, 0, 1]
    assert {p.unit for p in data.protocols} == {"tracklet"}


def test_site_labels_hold_inside_their_camera(tmp_path: Path) -> None:
    data = load(trees.site(tmp_path))
    assert data.cameras == ("Door", "Hall")
    assert data.people == ("Door/2", "Door/3", "Hall/2", "Hall/10")
    assert data.intra is not None
    assert data.intra.offsets == (0, 2, 4)
    assert [data.intra.camera_of(k) for k in range(4)] == [0, 0, 1, 1]
    unknown, ann, also_ann, _ = data.intra.person_of
    assert unknown == -1
    assert ann == also_ann >= 0
    assert {s.quality for s in data.train} == {None, 0.5}


def test_site_with_global_labels(tmp_path: Path) -> None:
    rows = [
        {"file": "a.jpg", "camera": "x", "person": "1", "clothes": "red", "caption": "in red"},
        {"file": "b.jpg", "camera": "y", "person": "1", "clothes": "blue"},
        {"file": "c.jpg", "camera": "y", "person": "2", "split": "query"},
        {"file": "d.jpg", "camera": "x", "person": None, "split": "gallery"},
    ]
    data = load(trees.site(tmp_path, "global", rows))
    assert data.intra is None
    assert told(data, data.train) == [("1", "x", "1/red"), ("1", "y", "1/blue")]
    assert told(data, data.gallery) == [("nobody", "x", None)]
    assert data.train[0].caption == "in red"


def test_simulated_knows_outfits_and_camera_names(tmp_path: Path) -> None:
    data = load(trees.simulated(tmp_path))
    assert told(data, data.train) == [("0001", "lobby", "0001/1"), ("0001", "shop", "0001/2")]
    assert {clothes for _, _, clothes in told(data, data.query + data.gallery)} == {"0002/1"}
    assert data.train[1].caption == "somebody in a coat"
    assert data.train[0].frame == 450


def test_generic_splits_by_person(tmp_path: Path) -> None:
    root = trees.generic(tmp_path)
    layout = GenericLayout("{person}/{camera}_{view}.png", PersonSplit(0.5, seed=1))
    data = load(root, layout=layout)
    assert data.name == "generic"
    assert data.cameras == ("a", "b")
    assert data.train_people == 3
    assert len(data.train) == 3 * 8
    assert len(data.query) == 3 * 2
    assert len(data.gallery) == 3 * 6
    assert not {s.path for s in data.query} & {s.path for s in data.gallery}
    again = load(root, "generic", layout)
    assert again == data


def test_generic_with_folders_for_splits_and_clothes(tmp_path: Path) -> None:
    trees.pictures(
        tmp_path,
        "train/1_c1_red.jpg",
        "probe/2_c1_red.jpg",
        "test/2_c2_blue.jpg",
        "test/2_c2_red.jpg",
    )
    data = load(tmp_path, layout=GenericLayout("{split}/{person}_{camera}_{clothes}.jpg"))
    assert told(data, data.train) == [("1", "c1", "1/red")]
    assert told(data, data.query) == [("2", "c1", "2/red")]
    assert [p.name for p in data.protocols] == ["standard", "clothes-changing"]


def test_generic_without_cameras_and_inside_cameras(tmp_path: Path) -> None:
    trees.generic(tmp_path, people=2)
    without = load(tmp_path, layout=GenericLayout("{person}/{_}_{view}.png"))
    assert without.cameras == ("unknown",)
    assert without.protocols[0].same_view == "none"
    layout = GenericLayout("{person}/{camera}_{view}.png", intra_camera=True)
    inside = load(tmp_path, layout=layout)
    assert inside.people == ("a/000", "a/001", "b/000", "b/001")
    assert inside.intra is not None
    assert set(inside.intra.person_of) == {-1}
    assert not inside.query
