"""MOT and MTMC files: round trips, conventions, and what is said about broken lines."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosscam_edge.sinks.mot import MotSequence, read_mot, write_mot
from crosscam_edge.sinks.mtmc import read_mtmc, write_mtmc
from crosscam_kernels.errors import InputError

coordinate = st.integers(-10_000, 1_000_000).map(lambda v: v / 100)
length = st.integers(0, 500_000).map(lambda v: v / 100)
row = st.tuples(
    st.integers(0, 10**6), st.integers(-5, 10**9), coordinate, coordinate, length, length
)
rows = st.lists(row, max_size=30, unique_by=lambda r: (r[0], r[1]))
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sequence(table) -> MotSequence:
    a = np.array(table, np.float64).reshape(-1, 6)
    boxes = np.concatenate([a[:, 2:4], a[:, 2:4] + a[:, 4:6]], axis=1)
    return MotSequence.of(a[:, 0].astype(int), a[:, 1].astype(int), boxes)


def assert_same(a: MotSequence, b: MotSequence) -> None:
    np.testing.assert_array_equal(a.frame, b.frame)
    np.testing.assert_array_equal(a.object_id, b.object_id)
    np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.0101)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-4)


@quick
@given(table=rows)
def test_mot_round_trip(tmp_path: Path, table) -> None:
    path = tmp_path / "a.txt"
    write_mot(path, sequence(table))
    assert_same(read_mot(path), sequence(table).sorted())


@quick
@given(tables=st.dictionaries(st.integers(1, 99), rows.filter(len), max_size=4))
def test_mtmc_round_trip(tmp_path: Path, tables) -> None:
    path = tmp_path / "mtmc.txt"
    write_mtmc(path, {n: sequence(t) for n, t in tables.items()})
    found = read_mtmc(path)
    assert list(found) == sorted(tables)
    for number, table in tables.items():
        assert_same(found[number], sequence(table).sorted())


@quick
@given(data=st.one_of(st.binary(max_size=200), st.text("0123456789.,- \n\rnaife+_x", max_size=200)))
@pytest.mark.parametrize("read", [read_mot, read_mtmc])
def test_any_content_is_read_or_refused(tmp_path: Path, read, data) -> None:
    path = tmp_path / "fuzz.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    result = {}
    with suppress(InputError):  # any other exception fails the test
        result = read(path)
    for s in result.values() if isinstance(result, dict) else [result]:
        assert np.isfinite(s.xyxy).all()


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("1,1,0,0,5,5,1,-1,-1,-1\n1,2,0,0,x,5,1,-1,-1,-1\n", 2, "column 5 is 'x'"),
        ("1,1,0,0,5,5\n\n1,2,0,0,5\n", 3, "5 columns"),
        ("1,1,0,0,5,5\n2,1,0,0,5,5,1\n", 2, "7 columns"),
        ("0,1,0,0,5,5\n", 1, "frame 0"),
        ("1.5,1,0,0,5,5\n", 1, "frame 1.5"),
        ("1,1.5,0,0,5,5\n", 1, "id 1.5"),
        ("1,1,0,0,-5,5\n", 1, "width -5"),
        ("1,1,0,0,5,nan\n", 1, "column 6 is 'nan'"),
        ("1,1,0,0,5,5\n1,1,9,9,5,5\n", 2, "id 1 is twice in frame 1 (first in line 1"),
    ],
)
def test_bad_mot_lines_are_named(tmp_path: Path, text: str, line: int, found: str) -> None:
    path = tmp_path / "cam.txt"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_mot(path)
    assert f"cam.txt:{line}:" in str(caught.value)
    assert found in str(caught.value)
    assert caught.value.expected


def test_columns_are_read_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,1,0,0,5,5,0,7,.25\n")
    labelled = read_mot(path, ground_truth=True)
    assert (labelled.class_id[0], labelled.visibility[0], labelled.confidence[0]) == (7, 0.25, 0)
    path.write_text("1,1,0,0,5,5,1,7.5,2,1\n")
    world = read_mot(path, ground_truth=True)
    assert world.class_id[0] == -1
    assert np.isnan(world.visibility[0])
    path.write_text("")
    assert len(read_mot(path)) == 0


def test_marks_may_repeat_an_id_in_ground_truth_only(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,-1,0,0,5,5,0\n1,-1,9,9,5,5,0\n")
    assert len(read_mot(path, ground_truth=True)) == 2
    with pytest.raises(InputError, match="twice"):
        read_mot(path)


def test_classes_survive_a_round_trip(tmp_path: Path) -> None:
    one = np.array([3])
    s = MotSequence.of(
        one, one, np.array([[1, 2, 3, 4.0]]), class_id=one, visibility=np.array([0.5])
    )
    write_mot(tmp_path / "gt.txt", s)
    again = read_mot(tmp_path / "gt.txt", ground_truth=True)
    assert (again.class_id[0], again.visibility[0]) == (3, 0.5)


@pytest.mark.parametrize("read", [read_mot, read_mtmc])
def test_missing_and_folder(tmp_path: Path, read) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "none.txt")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path)
