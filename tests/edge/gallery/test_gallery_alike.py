"""Who looks like somebody, by the looks that are kept."""

from __future__ import annotations

import pytest
from test_gallery import event, gallery, tracklet

from crosscam_edge.associate.online import EventKind
from crosscam_edge.gallery import Reader
from crosscam_edge.gallery.alike import looks_of_person, most_alike
from crosscam_edge.types import TrackletKey


@pytest.fixture
def reader(tmp_path):
    """Persons 1 and 2 look alike, 3 and 4 like nobody; 5 was seen by another model."""
    kept = gallery(tmp_path / "g.db")
    for number, (camera, look) in enumerate((("a", 0), ("b", 0), ("a", 1), ("b", 2)), 1):
        kept.put(tracklet(camera, number, 0, 5, look), number)
    kept.put(tracklet("b", 9, 6, 9, 3), 1)  # 1 again, from behind
    kept.close()
    other = gallery(tmp_path / "g.db", model="other")
    other.put(tracklet("a", 5, 0, 5, 0), 5)
    other.close()
    found = Reader(tmp_path / "g.db")
    yield found
    found.close()


def test_who_looks_most_alike_comes_first(reader):
    looks, model = looks_of_person(reader, 2)
    assert model == "m"
    assert looks @ looks == pytest.approx(1)
    found = most_alike(reader, looks, model, limit=10, without=2)
    assert found[0][0] == 1
    assert {who for who, _ in found} == {1, 3, 4}  # of one model alone
    assert found[0][1] > 0.9 > 0.7 > found[1][1]
    assert most_alike(reader, looks, model, limit=1, without=2) == found[:1]
    assert most_alike(reader, looks, model, limit=1)[0][0] == 2


def test_only_what_the_cameras_have_seen_is_compared(reader):
    looks, model = looks_of_person(reader, 2, ["b"])
    found = dict(most_alike(reader, looks, model, limit=10, cameras=["b"]))
    assert set(found) == {1, 2, 4}
    assert found[1] < 0.7  # `b` has seen 1 from behind
    assert looks_of_person(reader, 2, ["a"]) is None
    assert looks_of_person(reader, 99) is None


def test_one_stay_of_somebody_is_compared_alone(reader):
    looks, model = looks_of_person(reader, 1, stay=TrackletKey("a", 1))
    assert most_alike(reader, looks, model, limit=1, without=1)[0] == (2, pytest.approx(1, abs=0.1))
    behind, _ = looks_of_person(reader, 1, stay=TrackletKey("b", 9))
    assert most_alike(reader, behind, model, limit=1, without=1)[0][1] < 0.7
    assert looks_of_person(reader, 1, stay=TrackletKey("a", 9)) is None
    assert looks_of_person(reader, 1, ["a"], TrackletKey("b", 9)) is None


def test_looks_that_were_let_go_are_not_found(tmp_path, reader):
    kept = gallery(tmp_path / "g.db")
    kept.tell(event(EventKind.ENDED, 1))
    kept.close()
    looks, model = looks_of_person(reader, 2)
    assert 1 not in dict(most_alike(reader, looks, model, limit=10))
