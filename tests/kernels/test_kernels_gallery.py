"""GalleryIndex against a list that does the same naively."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crosscam_kernels import GalleryIndex, quantise_rows, similarity_topk
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.reference import similarity as reference

DIM = 16
STORAGE: list[dict[str, Any]] = [
    {"dtype": "float32"},
    {"dtype": "bfloat16"},
    {"dtype": "float16"},
    {"dtype": "int8", "rescore": "float32"},
    {"dtype": "int8", "rescore": "bfloat16"},
]


class Row(NamedTuple):
    row_id: int
    features: np.ndarray
    camera: int
    time_ns: int
    owner: int


def sign_rows(rng: np.random.Generator, rows: int, dim: int = DIM) -> np.ndarray:
    """Rows that every storage type holds exactly, with ties everywhere."""
    return rng.choice([-0.25, 0.25], (rows, dim)).astype(np.float32)


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    x = rng.standard_normal((rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class GalleryMachine(RuleBasedStateMachine):
    """Applies the same steps to a gallery and to a list of rows."""

    @initialize(
        capacity=st.integers(1, 40), storage=st.sampled_from(STORAGE), seed=st.integers(0, 2**32)
    )
    def start(self, capacity: int, storage: dict[str, Any], seed: int) -> None:
        self.gallery = GalleryIndex(DIM, capacity=capacity, **storage)
        self.capacity = capacity
        self.rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.next_id = 0
        self.evicted = 0

    @rule(count=st.integers(0, 50), scalar=st.booleans())
    def append(self, count: int, scalar: bool) -> None:
        features = sign_rows(self.rng, count)
        camera = self.rng.integers(0, 5, count)
        time_ns = self.rng.integers(-10, 10, count)
        owner = self.rng.integers(0, 4, count)
        if scalar and count:
            camera[:], time_ns[:], owner[:] = camera[0], time_ns[0], owner[0]
            found = self.gallery.append(
                features, camera=camera[0], time_ns=int(time_ns[0]), owner=owner[0]
            )
        else:
            found = self.gallery.append(features, camera=camera, time_ns=time_ns, owner=owner)
        ids = range(self.next_id, self.next_id + count)
        assert found.tolist() == list(ids)
        columns = (camera.tolist(), time_ns.tolist(), owner.tolist())
        self.rows += [Row(*row) for row in zip(ids, features, *columns, strict=True)]
        self.next_id += count
        self.evicted += max(0, len(self.rows) - self.capacity)
        self.rows = self.rows[-self.capacity :]

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.integers(-2, self.next_id + 2), max_size=20))
        kept = [row for row in self.rows if row.row_id not in ids]
        assert self.gallery.remove(np.array(ids, np.int64)) == len(self.rows) - len(kept)
        self.rows = kept

    @rule(owner=st.integers(-1, 5))
    def remove_owner(self, owner: int) -> None:
        kept = [row for row in self.rows if row.owner != owner]
        assert self.gallery.remove_owner(owner) == len(self.rows) - len(kept)
        self.rows = kept

    @rule(before_ns=st.integers(-11, 6))
    def sweep(self, before_ns: int) -> None:
        kept = [row for row in self.rows if row.time_ns >= before_ns]
        assert self.gallery.sweep(before_ns) == len(self.rows) - len(kept)
        self.rows = kept

    @rule()
    def compact(self) -> None:
        self.gallery.compact()

    @rule(
        queries=st.integers(0, 5),
        k=st.integers(0, 12),
        camera_rule=st.sampled_from(["any", "exclude_same", "only_same"]),
        adjacency=st.booleans(),
        window=st.sampled_from([None, (-5, 5), (None, 0)]),
    )
    def search(self, queries: int, k: int, camera_rule: str, adjacency: bool, window: Any) -> None:
        q = sign_rows(self.rng, queries)
        camera, time_ns = self.rng.integers(0, 5, queries), self.rng.integers(-10, 10, queries)
        allowed = self.rng.random((5, 5)) < 0.7
        masks: dict[str, Any] = {"camera_rule": camera_rule}
        if adjacency:
            masks["adjacency"] = allowed
        times = {} if window is None else {"time_ns": time_ns, "window": window}
        found = self.gallery.search(q, k, camera=camera, **masks, **times)
        if window is not None:
            masks |= {"query_time": time_ns, "window": window}
            masks["gallery_time"] = np.array([row.time_ns for row in self.rows], np.int64)
        expected = reference.similarity_topk(
            q,
            np.array([row.features for row in self.rows], np.float32).reshape(-1, DIM),
            k,
            query_camera=camera,
            gallery_camera=np.array([row.camera for row in self.rows], np.int64),
            **masks,
        )
        np.testing.assert_array_equal(found.similarity, expected.similarity)
        ids = np.array([row.row_id for row in self.rows] + [-1])
        owners = np.array([row.owner for row in self.rows] + [-1])
        np.testing.assert_array_equal(found.row_id, ids[expected.index])
        np.testing.assert_array_equal(found.owner, owners[expected.index])

    @invariant()
    def holds_the_same_rows(self) -> None:
        assert len(self.gallery) == len(self.rows) <= self.capacity
        assert self.gallery.evicted == self.evicted
        found = self.gallery.rows()
        for name in found._fields:
            assert getattr(found, name).tolist() == [getattr(row, name) for row in self.rows]


TestGallery = GalleryMachine.TestCase
TestGallery.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("storage", STORAGE, ids=lambda s: "-".join(s.values()))
def test_a_large_gallery_answers_like_one_call_over_its_live_rows(storage: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    gallery = GalleryIndex(48, capacity=2000, **storage)
    features = unit_rows(rng, 5000, 48)
    camera, time_ns = rng.integers(0, 9, 5000), np.arange(5000) * 10**9
    for begin in range(0, 5000, 37):
        part = slice(begin, begin + 37)
        gallery.append(features[part], camera=camera[part], time_ns=time_ns[part], owner=begin)
        gallery.remove(rng.integers(max(0, begin - 1500), begin + 37, 5))
    gallery.sweep(3200 * 10**9)
    live = gallery.rows().row_id
    assert 1000 < len(live) < 2000
    exact = (
        features[live].astype(storage.get("rescore", storage["dtype"]), copy=False)
        if ("bfloat16" not in storage.values())
        else _bf16(features[live])
    )
    q, query_time = unit_rows(rng, 40, 48), rng.integers(4000, 5000, 40) * 10**9
    masks: dict[str, Any] = {"camera_rule": "exclude_same", "window": (0, 900 * 10**9)}
    query_camera = rng.integers(0, 9, 40)
    found = gallery.search(q, 10, camera=query_camera, time_ns=query_time, **masks)
    expected = similarity_topk(
        q,
        exact,
        10,
        query_camera=query_camera,
        gallery_camera=camera[live],
        query_time=query_time,
        gallery_time=time_ns[live],
        **masks,
    )
    np.testing.assert_array_equal(found.similarity, expected.similarity)
    np.testing.assert_array_equal(found.row_id, live[expected.index])
    np.testing.assert_array_equal(found.owner, live[expected.index] // 37 * 37)


def _bf16(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def test_int8_without_a_copy_gives_the_similarities_of_its_integers() -> None:
    rng = np.random.default_rng(1)
    gallery = GalleryIndex(24, capacity=700, dtype="int8", rescore=None)
    features, q = unit_rows(rng, 700, 24), unit_rows(rng, 5, 24)
    gallery.append(features)
    values, scale = quantise_rows(features)
    expected = similarity_topk(q, values, 6, scale=scale)
    found = gallery.search(q, 6)
    np.testing.assert_array_equal(found.row_id, expected.index)
    np.testing.assert_array_equal(found.similarity, expected.similarity)
    assert gallery.nbytes < 1.3 * 700 * (24 + 4 + 8 + 4 + 8 + 8 + 1)


def test_memory_is_bounded_and_moves_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    from crosscam_kernels._ring import ColumnRing

    moved = [0]
    move = ColumnRing._move

    def counted(self: ColumnRing, order: np.ndarray, size: int) -> None:
        moved[0] += len(order)
        move(self, order, size)

    monkeypatch.setattr(ColumnRing, "_move", counted)
    rng = np.random.default_rng(2)
    gallery = GalleryIndex(4, capacity=400)
    appended = 0
    for _ in range(2000):  # a steady state: rows die in the middle as fast as they come
        count = int(rng.integers(0, 7))
        gallery.append(np.ones((count, 4), np.float32), owner=int(rng.integers(0, 50)))
        appended += count
        gallery.remove_owner(int(rng.integers(0, 50)))
        if appended % 3 == 0:
            gallery.remove(rng.integers(0, appended + 1, 3))
    assert gallery.nbytes <= 1.25 * 400 * (16 + 8 + 4 + 8 + 8 + 1)
    assert moved[0] <= 4 * appended
    # Without removals a full ring moves nothing.
    gallery.append(np.ones((400, 4), np.float32))
    moved[0] = 0
    for _ in range(300):
        gallery.append(np.ones((5, 4), np.float32))
    assert moved[0] == 0
    assert len(gallery) == 400


def test_half_precision_rows_and_not_finite_rows() -> None:
    rng = np.random.default_rng(3)
    features = unit_rows(rng, 20, 8)
    features[4, 2] = np.nan
    features[5, 1] = np.inf
    for storage in STORAGE:
        gallery = GalleryIndex(8, capacity=30, **storage)
        gallery.append(features.astype(np.float16))
        found = gallery.search(unit_rows(rng, 3, 8), 20)
        assert 4 not in found.row_id
        assert not np.isnan(found.similarity).any()


def test_readers_see_whole_states_only() -> None:
    """Every append replaces all rows by copies of one number; a search must never see two."""
    gallery = GalleryIndex(2, capacity=300)
    gallery.append(np.full((300, 2), 1, np.float32), owner=1)
    stop = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        while not stop.is_set():
            found = gallery.search(np.array([[1.0, 0.0]], np.float32), 300)
            if len(set(found.similarity[0].tolist())) != 1:
                wrong.append(f"similarities {set(found.similarity[0].tolist())}")
            if set(found.owner[0].tolist()) != {int(found.similarity[0, 0])}:
                wrong.append("owners of another state")
            if len(set(gallery.rows().owner.tolist())) != 1:
                wrong.append("rows of two states")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(2, 150):
        gallery.append(np.full((300, 2), value, np.float32), owner=value)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_removed_rows_need_no_camera_in_the_adjacency() -> None:
    gallery = GalleryIndex(2, capacity=10)
    ids = gallery.append(np.ones((3, 2), np.float32), camera=[0, 90, 1])
    allowed = np.ones((2, 2), bool)
    q = np.ones((1, 2), np.float32)
    with pytest.raises(InputError, match="gallery_camera holds cameras"):
        gallery.search(q, 2, camera=[0], adjacency=allowed)
    gallery.remove(ids[1])
    assert gallery.search(q, 2, camera=[0], adjacency=allowed).row_id.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim=0"),
        ({"capacity": 0}, "capacity=0"),
        ({"dtype": "float64"}, "dtype='float64'"),
        ({"dtype": "int8", "rescore": "int8"}, "rescore='int8'"),
    ],
)
def test_impossible_galleries(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GalleryIndex(**{"dim": 4, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.ones((2, 3), np.float32)}, "3 columns"),
        ({"features": np.ones((2, 4))}, "features is float64"),
        ({"features": np.ones((2, 4), np.int8)}, "features is int8"),
        ({"camera": [1, 2, 3]}, "camera is int64"),
        ({"camera": 2**40}, "camera holds values"),
        ({"owner": 0.5}, "owner is float64"),
        ({"time_ns": [[0, 1]]}, "time_ns is int64"),
    ],
)
def test_wrong_rows_change_nothing(arguments: dict[str, Any], message: str) -> None:
    gallery = GalleryIndex(4, capacity=10)
    with pytest.raises(InputError, match=message):
        gallery.append(**{"features": np.ones((2, 4), np.float32), **arguments})
    assert len(gallery) == 0
    assert gallery.append(np.ones((1, 4), np.float32)).tolist() == [0]


def test_wrong_searches_are_refused_even_when_empty() -> None:
    gallery = GalleryIndex(4)
    assert gallery.dim == 4
    assert gallery.capacity == 100_000
    q = np.ones((2, 4), np.float32)
    found = gallery.search(q, 3)
    assert (found.row_id == -1).all()
    assert (found.owner == -1).all()
    assert (found.similarity == -np.inf).all()
    with pytest.raises(ShapeError, match="5 features"):
        gallery.search(np.ones((2, 5), np.float32), 3)
    with pytest.raises(UsageError, match="without cameras"):
        gallery.search(q, 3, camera_rule="exclude_same")
    with pytest.raises(UsageError, match="window must be given"):
        gallery.search(q, 3, time_ns=[0, 1])


def test_times_at_the_ends_of_int64() -> None:
    times = np.array([-(2**63), -1, 0, 1, 2**63 - 1])
    one = np.ones((5, 2), np.float32)
    gallery = GalleryIndex(2)
    gallery.append(one, time_ns=times)
    for window in [(None, None), (0, None), (None, -1), (1, 2**63 - 2), (-(2**63), 2**63 - 1)]:
        found = gallery.search(one, 5, time_ns=times, window=window)
        masks: dict[str, Any] = {"query_time": times, "gallery_time": times, "window": window}
        expected = reference.similarity_topk(one, one, 5, **masks)
        np.testing.assert_array_equal(found.row_id, expected.index)
    assert gallery.sweep(-(2**63)) == 0
    assert gallery.sweep(2**63 - 1) == 4
    assert gallery.rows().time_ns.tolist() == [2**63 - 1]


def test_rows_on_both_sides_of_the_end_of_the_ring_can_be_removed() -> None:
    for gone in range(3, 11):  # ids 3 to 10 live in 10 slots: the last of them behind the end
        gallery = GalleryIndex(2, capacity=8)
        for row in range(11):
            gallery.append(np.ones((1, 2), np.float32), owner=row, time_ns=row)
        assert len(gallery._ring.segments()) == 2
        assert gallery.remove(gone) == 1
        kept = [row for row in range(3, 11) if row != gone]
        assert gallery.rows().row_id.tolist() == kept
        assert gallery.remove_owner(kept[-1]) == 1
        assert gallery.sweep(kept[-2]) == 5
        assert gallery.rows().row_id.tolist() == [kept[-2]]
