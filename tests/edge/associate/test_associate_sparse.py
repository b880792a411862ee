"""Many tracklets: the sparse path finds what the dense one does, under the same rules."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_edge.associate import AssociationConfig, associate, pipeline
from crosscam_edge.associate.candidates import sample_at_once, unique_pairs
from crosscam_edge.associate.constraints import Spans, every_pair
from crosscam_edge.associate.judge import Groups
from crosscam_edge.associate.simultaneous import count_all, count_pairs, mutual_best
from crosscam_edge.associate.solve import average_linkage
from crosscam_edge.associate.sparse_linkage import Links, sparse_linkage
from crosscam_edge.types import Tracklet

S = 10**9


def make(camera, track, start_s, end_s, embeddings, sure=None):
    frames = int(start_s * 10), int(end_s * 10)
    return Tracklet(
        camera, track, int(start_s * S), int(end_s * S), *frames, frames[1] - frames[0] + 1,
        np.zeros(4, np.float32), np.zeros(4, np.float32), (640, 480),
        embeddings.astype(np.float32), np.arange(len(embeddings), dtype=np.int64),
        np.ones(len(embeddings), np.float32), sure_ns=sure,
    )  # fmt: skip


def day(people, cameras, laps, *, noise=0.6, dim=128, seed=0):
    """Each person walks past all cameras in every lap; returns tracklets and who they are."""
    rng = np.random.default_rng(seed)
    looks, casts = rng.normal(size=(people, dim)), 0.5 * rng.normal(size=(cameras, dim))
    common = rng.normal(size=dim)
    out, truth = [], []
    for lap in range(laps):
        for c in range(cameras):
            for p in range(people):
                start = lap * max(90.0, people * 2.0) + p * 1.5 + c * 10
                e = common + looks[p] + casts[c] + noise * rng.normal(size=dim)
                e = e + noise * rng.normal(size=(6, dim))
                e /= np.linalg.norm(e, axis=1, keepdims=True)
                out.append(make(f"c{c}", len(out), start, start + 4, e))
                truth.append(p)
    return out, np.array(truth)


def ids(tracklets, **config):
    result = associate(tracklets, model_id="m", config=AssociationConfig(**config))
    return np.array([a.global_id for a in result.assignments])


def pair_f1(found, truth):
    def pairs(counts):
        return int((counts * (counts - 1) // 2).sum())

    both = np.unique(np.stack([found, truth]), axis=1, return_counts=True)[1]
    one = [pairs(np.unique(x, return_counts=True)[1]) for x in (found, truth)]
    return 2 * pairs(both) / max(sum(one), 1)


@pytest.fixture
def sparse(monkeypatch):
    monkeypatch.setattr(pipeline, "DENSE", 0)


@pytest.mark.parametrize(
    ("people", "cameras", "laps", "noise"), [(25, 4, 5, 0.6), (60, 3, 3, 0.8), (12, 3, 14, 1.2)]
)
def test_it_is_as_good_as_with_all_pairs(people, cameras, laps, noise, monkeypatch):
    items, truth = day(people, cameras, laps, noise=noise)
    dense = pair_f1(ids(items), truth)
    monkeypatch.setattr(pipeline, "DENSE", 0)
    assert pair_f1(ids(items), truth) >= max(dense - 0.005, 0.9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 4), st.integers(0, 60), st.integers(0, 20),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.05, 0.5]),
)  # fmt: skip
def test_the_hard_rule_holds_and_order_does_not_matter(spans, seed, noise):
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(5, 16))
    items = []
    for number, (camera, person, start, length, unsure) in enumerate(spans):
        e = people[person] + noise * rng.normal(size=(5 if number % 7 else 0, 16))
        e /= np.linalg.norm(e, axis=1, keepdims=True)
        sure = (int((start + 0.3 * length) * S), (start + length) * S) if unsure else None
        items.append(make(f"c{camera}", number, start, start + length, e, sure))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "DENSE", 0)
        found = ids(items)
        shuffle = rng.permutation(len(items))
        again = ids([items[i] for i in shuffle])
    assert (found[shuffle] == again).all()
    same = found[:, None] == found[None, :]
    assert not (same & Spans.of(items).at_once(*every_pair(len(items)))).any()


@pytest.mark.usefixtures("sparse")
def test_what_is_known_of_the_site_holds():
    items, truth = day(10, 2, 4)
    pair = frozenset({frozenset({"c0", "c1"})})
    assert pair_f1(ids(items, least_transit_s={("c0", "c1"): 5.0}), truth) >= 0.95
    late = {("c0", "c1"): 1e6, ("c1", "c0"): 1e6}
    found = ids(items, least_transit_s=late)
    camera = np.array([t.camera_id for t in items])
    across = camera[:, None] != camera[None, :]
    assert not ((found[:, None] == found[None, :]) & across).any()
    at_once = [make("c1", 500 + n, t.start_ns / S, t.end_ns / S, t.embeddings)
               for n, t in enumerate(items) if t.camera_id == "c0"]  # fmt: skip
    items = [t for t in items if t.camera_id == "c0"] + at_once
    found = ids(items, separate=pair)
    half = len(at_once)
    assert not (found[:half] == found[half:]).any()


@pytest.mark.usefixtures("sparse")
def test_nothing_no_looks_and_reasons():
    assert len(ids([])) == 0
    blind = [make("a", n, n * 10, n * 10 + 5, np.zeros((0, 8))) for n in range(3)]
    assert ids(blind).tolist() == [1, 2, 3]
    items, _ = day(8, 3, 2)
    result = associate(items, model_id="m")
    for a in result.assignments:
        if a.matched_to is not None:
            assert a.score > a.runner_up
            assert a.runner_up_id not in (0, a.global_id)
    created = [a.global_id for a in result.assignments if a.matched_to is None]
    assert sorted(created) == sorted({a.global_id for a in result.assignments})


class _Table:
    """Judges pairs from a table, with looks that never suggest another pair."""

    def __init__(self, weights, forbidden):
        self.weights, self.forbidden = weights, forbidden

    def between(self, groups, a, b):
        from crosscam_edge.associate.judge import Verdict

        rows = []
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            cell = np.ix_(groups.members(x), groups.members(y))
            bad = self.forbidden[cell]
            rows.append((self.weights[cell][~bad].sum(), (~bad).sum(), bad.sum()))
        out = np.array(rows, float).reshape(-1, 3).T
        return Verdict(out[0], out[1].astype(int), out[2].astype(int))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(0, 10**6), st.floats(0, 0.3), st.floats(-1, 1))
def test_joining_the_best_for_each_other_is_average_linkage(count, seed, share, mean):
    rng = np.random.default_rng(seed)
    weights = rng.normal(mean, 1, (count, count)).astype(np.float32)
    weights = weights + weights.T
    forbidden = rng.random((count, count)) < share
    forbidden |= forbidden.T
    np.fill_diagonal(forbidden, False)
    # Candidates are the positive pairs only: what else is needed is looked up.
    i, j = np.nonzero(np.triu(weights > 0, 1))
    pairs = unique_pairs(i, j, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "crosscam_edge.associate.sparse_linkage._alike_groups",
            lambda *_: unique_pairs(np.zeros(0, int), np.zeros(0, int), count),
        )
        links = Links.of(pairs, weights[pairs], forbidden[pairs])
        found = sparse_linkage(_Table(weights, forbidden), links, count)
    assert found.tolist() == average_linkage(weights, forbidden).tolist()


def test_groups_yield_every_pair_once_in_pieces(monkeypatch):
    monkeypatch.setattr("crosscam_edge.associate.judge._BLOCK", 10)
    labels = np.array([0, 1, 0, 3, 3, 3, 1, 0, 0])
    groups = Groups(labels)
    a, b = np.array([0, 1, 0]), np.array([1, 3, 3])
    found = [np.stack(x, 1) for x in groups.cross(a, b, None)]
    assert len(found) > 1
    wanted = {(p, i, j) for p in range(3) for i in groups.members(a[p]) for j in
              groups.members(b[p])}  # fmt: skip
    rows = np.concatenate(found).tolist()
    assert len(rows) == len(wanted)
    assert {tuple(r) for r in rows} == wanted
    few = np.concatenate([np.stack(x, 1) for x in groups.of(a, 2)]).tolist()
    assert few == [[0, 0], [0, 7], [1, 1], [1, 6], [2, 0], [2, 7]]


def test_counts_without_a_table_are_those_of_the_table():
    rng = np.random.default_rng(3)
    items = [make(f"c{n % 3}", n, s := rng.integers(0, 80), s + rng.integers(0, 12),
                  np.zeros((0, 4))) for n in range(90)]  # fmt: skip
    items.sort(key=lambda t: t.start_ns)
    spans, config, names = Spans.of(items), AssociationConfig(), ["c0", "c1", "c2"]
    scores = rng.random((90, 90)).astype(np.float32)
    scores = np.maximum(scores, scores.T)
    shared = spans.shared(*every_pair(90))
    best = np.argwhere(np.triu(mutual_best(scores, spans.camera, 0.5)))
    assert len(best) > 10
    found = count_pairs(best[:, 0], best[:, 1], spans, names, config)
    wanted = count_all(scores, spans.camera, names, shared, 0.5, config)
    assert list(found) == list(wanted)
    for pair, (n, k, q) in wanted.items():
        assert found[pair] == pytest.approx((n, k, q))
    at_once = sample_at_once(spans, np.ones(90, bool), 10**6)
    assert (np.stack(at_once, 1) == np.argwhere(np.triu(spans.at_once(*every_pair(90))))).all()


@pytest.mark.slow
def test_a_busy_day_takes_minutes_and_bounded_memory():
    items, truth = day(1000, 4, 5, noise=0.8, dim=256)
    assert len(items) == 20_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    found = ids(items)
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert pair_f1(found, truth) >= 0.97
    assert grown < 1500, f"{grown:.0f} MiB"
    assert seconds < 600
