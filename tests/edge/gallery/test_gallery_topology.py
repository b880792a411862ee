"""What was given about a site, and the ways that people took."""

from __future__ import annotations

import pytest
from test_gallery import gallery, tracklet

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.gallery import Reader
from crosscam_edge.gallery.topology import FILE, Given, GivenFile, learned_links
from crosscam_kernels.errors import CrosscamError, InputError

WAY = {"from": "a", "to": "b", "p05_s": 4, "median_s": 6, "p95_s": 9}
GIVEN = Given.model_validate({"cameras": [{"id": "a", "x": 0, "y": 1}], "links": [WAY]})


def test_what_was_given_is_there_after_a_restart(tmp_path):
    file = GivenFile(tmp_path)
    assert file.given == Given()
    file.write(GIVEN, "ab")
    assert GivenFile(tmp_path).given == GIVEN
    site = AssociationConfig(usual_transit_s={("x", "y"): 1.0})
    assert GIVEN.applied(site).usual_transit_s == {("a", "b"): 4.0}


def test_a_damaged_file_is_told_of(tmp_path):
    for text in ("{", '{"cameras": 1}', '{"links": [{}]}', '{"topsecret": 1}', "\xff"):
        (tmp_path / FILE).write_text(text, "latin-1")
        with pytest.raises(InputError, match="cannot be read") as caught:
            GivenFile(tmp_path)
        assert "topsecret" not in str(caught.value)


def test_what_cannot_be_written_changes_nothing(tmp_path):
    file = GivenFile(tmp_path / "no" / "folder")
    (tmp_path / "no").write_text("a file")
    with pytest.raises(CrosscamError):
        file.write(GIVEN, "ab")
    assert file.given == Given()


def places(*names):
    return [{"id": name, "x": 0.5, "y": 0.5} for name in names]


def test_what_is_said_of_cameras_that_are_away_stays_until_they_are_back(tmp_path):
    file = GivenFile(tmp_path)
    back = {**WAY, "from": "b", "to": "a"}
    both = {"cameras": [*places("a", "b"), {"id": "c", "x": None, "y": None}], "links": [WAY, back]}
    file.write(Given.model_validate(both), "abc")
    moved = [{"id": "a", "x": 1, "y": 1}]
    now = file.write(Given.model_validate({"cameras": moved}), "a")  # b and c are away
    assert now == file.given == GivenFile(tmp_path).given
    assert now == Given.model_validate({"cameras": [*moved, *places("b")], "links": [WAY, back]})
    assert file.write(Given(), "ab") == Given()  # b is back, and nobody wants it there


def test_what_is_kept_of_cameras_that_are_away_is_bounded(tmp_path):
    file = GivenFile(tmp_path)
    names = [f"n{k}" for k in range(1000)]
    ways = [{**WAY, "from": name} for name in names]
    file.write(Given.model_validate({"cameras": places(*names), "links": ways}), [*names, "b"])
    given = Given.model_validate({"cameras": places("a"), "links": [WAY]})
    kept = file.write(given, "ab")
    assert [each.id for each in kept.cameras] == ["a", *names[:-1]]
    assert [each.start for each in kept.links] == ["a", *names[:-1]]
    assert GivenFile(tmp_path).given == kept  # a file as large as can be is read whole


@pytest.fixture
def reader(tmp_path):
    """1 goes from a by way of b to c, and back to a; 2 from a to b twice; 3 is in both at once."""
    kept = gallery(tmp_path / "g.db")
    seen = [
        ("a", 1, 0, 10, 1), ("b", 1, 15, 20, 1), ("c", 1, 30, 40, 1), ("a", 2, 47, 50, 1),
        ("a", 3, 0, 10, 2), ("a", 4, 12, 20, 2), ("b", 3, 28, 30, 2),
        ("a", 5, 0, 10, 3), ("b", 5, 8, 20, 3),
    ]  # fmt: skip
    for camera, track, start, end, who in seen:
        kept.put(tracklet(camera, track, start, end), who)
    kept.close()
    found = Reader(tmp_path / "g.db")
    yield found
    found.close()


def test_ways_are_counted_as_the_association_counts_them(reader):
    found = reader.transits(limit=100)
    assert {way: sorted(each) for way, each in found.items()} == {
        ("a", "b"): [0.0, 5.0, 8.0], ("b", "c"): [10.0], ("c", "a"): [7.0],
    }  # fmt: skip
    assert reader.transits(limit=100, cameras=["a", "c"]) == {("a", "c"): [20.0], ("c", "a"): [7.0]}
    assert reader.transits(limit=2) == {("c", "a"): [7.0]}  # of the newest alone


def test_figures_of_ways():
    (link,) = learned_links({("a", "b"): [float(n) for n in range(100, -1, -1)]})
    assert link == {"from": "a", "to": "b", "count": 101, "p05_s": 5, "median_s": 50, "p95_s": 95,
                    "given": False}  # fmt: skip
    (one,) = learned_links({("a", "b"): [3.0]})
    assert one["p05_s"] == one["median_s"] == one["p95_s"] == 3
