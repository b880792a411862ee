"""Intra-camera labels, protocols as arguments of the metrics, and splits by people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import data_trees as trees
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.data.build import Row, Rows, build
from crosscam_trainer.data.protocol import Side, answerable, kernel_protocol, sides
from crosscam_trainer.data.registry import load
from crosscam_trainer.data.relabel import as_intra_camera
from crosscam_trainer.data.splits import PersonSplit
from crosscam_trainer.data.types import DISTRACTOR, EvaluationProtocol, ReIDData, Sample

ROOT = Path("/set")
_rows = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40
)


def _data(train: list[tuple[int, int, int]], test: list[tuple[int, int, int]]) -> ReIDData:
    """People, cameras and outfits by number; test people are others than those trained on."""
    rows = Rows()
    for split, triples, who in (("train", train, "t"), ("gallery", test, "g")):
        rows.add(
            split,
            (
                Row(ROOT / f"{split}{k}.jpg", f"{who}{person}", f"c{camera}", str(outfit))
                for k, (person, camera, outfit) in enumerate(triples)
            ),
        )
    return build("made", ROOT, rows)


@given(_rows, _rows)
def test_accumulated_labels_of_ccafl(
    train: list[tuple[int, int, int]], test: list[tuple[int, int, int]]
) -> None:
    data = _data(train, test)
    local = as_intra_camera(data)
    intra = local.intra
    assert intra is not None
    counts = [
        len({s.person for s in data.train if s.camera == camera})
        for camera in range(len(data.cameras))
    ]
    assert list(intra.offsets) == [sum(counts[:k]) for k in range(len(counts) + 1)]
    assert intra.labels == local.train_people == sum(counts) == len(intra.person_of)
    assert {s.person for s in local.train} == set(range(sum(counts)))
    for old, new in zip(data.train, local.train, strict=True):
        # g = y + N_0 + … + N_(c-1), y numbers the camera's people in their old order.
        inside = sorted({s.person for s in data.train if s.camera == old.camera})
        assert new.person == intra.offsets[old.camera] + inside.index(old.person)
        assert intra.camera_of(new.person) == old.camera
        assert intra.person_of[new.person] == old.person
        assert local.people[new.person] == f"{data.cameras[old.camera]}/{data.people[old.person]}"
        assert (new.path, new.camera) == (old.path, old.camera)
    for old, new in zip(data.gallery, local.gallery, strict=True):
        assert new.person >= local.train_people
        assert local.people[new.person] == data.people[old.person]
    assert as_intra_camera(local) is local


@given(_rows, _rows)
def test_clothes_do_not_give_away_who_is_who(
    train: list[tuple[int, int, int]], test: list[tuple[int, int, int]]
) -> None:
    data = _data(train, test)
    local = as_intra_camera(data)
    owner: dict[int, int] = {}
    for old, new in zip(data.train, local.train, strict=True):
        assert old.clothes is not None
        assert new.clothes is not None
        assert owner.setdefault(new.clothes, new.person) == new.person
        assert local.clothes[new.clothes].endswith(data.clothes[old.clothes])
    assert set(owner) == set(range(local.train_clothes))
    same = {(s.person, s.clothes) for s in data.gallery}
    again = {(s.person, s.clothes) for s in local.gallery}
    assert len(same) == len(again)
    assert all(s.clothes is not None and s.clothes >= local.train_clothes for s in local.gallery)


def test_a_camera_without_training_pictures_has_no_labels() -> None:
    local = as_intra_camera(_data([(0, 0, 0), (0, 2, 0)], [(1, 1, 0)]))
    assert local.intra is not None
    assert local.intra.offsets == (0, 1, 1, 2)
    assert [local.intra.camera_of(k) for k in range(2)] == [0, 2]
    for wrong in (-1, 2):
        with pytest.raises(IndexError):
            local.intra.camera_of(wrong)


def _sample(
    person: int, camera: int, clothes: int | None = None, tracklet: int | None = None
) -> Sample:
    return Sample(Path("x.jpg"), person, camera, clothes, tracklet)


_labels = st.tuples(
    st.integers(-2, 3).filter(lambda person: person != -1),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 3),
)


@given(st.lists(_labels, max_size=12), st.lists(_labels, max_size=20), st.integers(0, 4))
def test_answerable_is_what_the_definition_says(
    asked: list[tuple[int, int, int, int]],
    stored: list[tuple[int, int, int, int]],
    which: int,
) -> None:
    protocol = (
        EvaluationProtocol("standard"),
        EvaluationProtocol("cc", clothes="changed"),
        EvaluationProtocol("sc", clothes="same"),
        EvaluationProtocol("t", same_view="tracklet"),
        EvaluationProtocol("any", same_view="none"),
    )[which]
    query = [_sample(*labels) for labels in asked if labels[0] >= 0]
    gallery = [_sample(*labels) for labels in stored]
    good = [
        any(
            g.person == q.person
            and (protocol.same_view != "camera" or g.camera != q.camera)
            and (protocol.same_view != "tracklet" or g.tracklet != q.tracklet)
            and (protocol.clothes != "changed" or g.clothes != q.clothes)
            and (protocol.clothes != "same" or g.clothes == q.clothes)
            for g in gallery
        )
        for q in query
    ]
    assert answerable(protocol, *sides(protocol, query, gallery)).tolist() == good


def test_protocols_choose_cameras_and_name_the_rule(tmp_path: Path) -> None:
    data = load(trees.prcc(tmp_path))
    protocol = data.protocols[1]
    query, gallery = sides(protocol, data.query, data.gallery)
    assert [data.cameras[c] for c in query.cameras] == ["B"]
    assert [data.query[k].person for k in query.pictures] == query.ids.tolist()
    assert len(gallery) == 2
    assert kernel_protocol(protocol) == "standard"
    names = {
        ("camera", "changed"): "clothes_changing",
        ("camera", "same"): "same_clothes",
        ("tracklet", "any"): "tracklet",
        ("none", "any"): "any",
    }
    for (view, clothes), name in names.items():
        rule = EvaluationProtocol("x", same_view=view, clothes=clothes)  # type: ignore[arg-type]
        assert kernel_protocol(rule) == name
    with pytest.raises(InputError, match="ignores the same tracklet"):
        kernel_protocol(EvaluationProtocol("x", same_view="tracklet", clothes="same"))


def test_tracklets_are_the_rows_of_video_protocols(tmp_path: Path) -> None:
    data = load(trees.ccvid(tmp_path))
    query, gallery = sides(data.protocols[0], data.query, data.gallery)
    assert len(query) == 1
    assert len(gallery) == 2
    assert gallery.unit.tolist() == [0, 0, 1, 1]
    assert [data.cameras[c] for c in gallery.cameras] == ["c3", "c13"]
    assert isinstance(gallery, Side)
    # Camera 3 shows the same clothes, camera 13 others: only the latter answers.
    assert answerable(data.protocols[0], query, gallery).tolist() == [True]
    lone = replace(data.gallery[0], tracklet=None)
    with pytest.raises(InputError, match="is in no tracklet"):
        sides(data.protocols[0], data.query, [lone])


def test_unlabelled_clothes_are_refused_where_needed_but_not_of_distractors() -> None:
    protocol = EvaluationProtocol("cc", clothes="changed")
    query, nobody = [_sample(1, 0, 5)], _sample(DISTRACTOR, 0)
    sides(protocol, query, [nobody, _sample(1, 1, 6)])
    with pytest.raises(InputError, match="needs clothes"):
        sides(protocol, query, [_sample(1, 1)])


@given(st.integers(1, 30), st.integers(1, 3), st.integers(1, 4), st.floats(0, 1), st.integers(0, 9))
def test_people_are_in_one_half(
    people: int, cameras: int, views: int, share: float, seed: int
) -> None:
    rows = [
        Row(ROOT / f"{p}/{c}_{v}.png", f"{p}", f"{c}")
        for p in range(people)
        for c in range(cameras)
        for v in range(views)
    ]
    for query in ("one", "all"):
        split = PersonSplit(share, seed, query)  # type: ignore[arg-type]
        parts = split.split(rows, ROOT)
        trained = {row.person for row in parts["train"]}
        tested = {row.person for row in parts["gallery"]}
        assert not trained & tested
        assert len(trained) == int(share * people + 0.5)
        assert len(parts["train"]) == len(trained) * cameras * views
        asked = {(row.person, row.camera) for row in parts["query"]}
        assert len(asked) == (people - len(trained)) * cameras
        rest = {row.path for row in parts["query"] + parts["gallery"]}
        assert len(rest) == (people - len(trained)) * cameras * views
        if query == "one":
            assert len(parts["query"]) == len(asked)
            shared = {r.path for r in parts["query"]} & {r.path for r in parts["gallery"]}
            assert len(shared) == (len(asked) if views == 1 else 0)


def test_split_does_not_depend_on_the_place_or_the_order(tmp_path: Path) -> None:
    rows = [Row(ROOT / f"{p}/a_{v}.png", f"{p}", "a") for p in range(20) for v in range(3)]
    moved = [replace(row, path=tmp_path / row.path.relative_to(ROOT)) for row in rows[::-1]]
    split = PersonSplit(0.5, 7)
    first, second = split.split(rows, ROOT), split.split(moved, tmp_path)
    for name in ("train", "query", "gallery"):
        assert {r.path.relative_to(ROOT) for r in first[name]} == {
            r.path.relative_to(tmp_path) for r in second[name]
        }
    assert PersonSplit(0.5, 8).train_people("abcdefgh") != split.train_people("abcdefgh")
    # Pinned: a model that was trained on one half must never meet it in another's test half.
    assert sorted(PersonSplit(0.5).train_people("abcdefgh")) == ["c", "e", "f", "h"]
    grown = split.train_people([f"{p}" for p in range(21)])
    assert len(grown - split.train_people([f"{p}" for p in range(20)])) <= 2


def test_queries_by_camera() -> None:
    rows = [Row(ROOT / f"{p}{c}.png", f"{p}", c) for p in range(4) for c in "abc"]
    parts = PersonSplit(0.0, query="cameras", query_cameras=("b",)).split(rows, ROOT)
    assert {row.camera for row in parts["query"]} == {"b"}
    assert {row.camera for row in parts["gallery"]} == {"a", "c"}
    with pytest.raises(UsageError, match="go together"):
        PersonSplit(query="cameras")
    with pytest.raises(UsageError, match="go together"):
        PersonSplit(query_cameras=("a",))
