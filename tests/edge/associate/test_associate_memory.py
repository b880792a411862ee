"""What association takes of memory: as little of each tracklet as it must, nothing for long."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.associate.features import diverse, mean_embedding
from crosscam_edge.associate.online import OnlineAssociation
from crosscam_edge.associate.online.people import Member
from crosscam_edge.associate.online.review import Review
from crosscam_edge.track.tracklets import at_rest
from crosscam_edge.types import Tracklet

DIM, CAMERAS, SECOND = 256, 8, 1_000_000_000
KIB = 1024


def tracklet(number, *, crops, people=30):
    """One a second, of somebody of `people`, ten seconds long."""
    rng = np.random.default_rng([3, number])
    look = np.random.default_rng([7, number % people]).normal(size=DIM)
    rows = look + 0.4 * rng.normal(size=DIM) + 0.4 * rng.normal(size=(crops, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    start, end = number * SECOND, (number + 10) * SECOND
    return Tracklet(
        f"c{number % CAMERAS}", number + 1, start, end, number * 10, number * 10 + 100, 20,
        np.ones(4, np.float32), np.ones(4, np.float32), (640, 480),
        rows.astype(np.float32), np.linspace(start, end, crops).astype(np.int64),
        np.ones(crops, np.float32),
    )  # fmt: skip


@pytest.fixture
def traced():
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_review_takes_little_for_each_tracklet_and_its_answer_holds_nothing(traced):
    tracklets = tuple(tracklet(number, crops=9) for number in range(300))
    review = Review(tracklets, tuple(range(1, 301)), frozenset())
    Review(tracklets[:20], (1,) * 20, frozenset()).solve("m", AssociationConfig())  # made once
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    found = review.solve("m", AssociationConfig())
    after, peak = tracemalloc.get_traced_memory()
    assert (peak - before) / 300 < 36 * KIB  # 104 once, with all looks in double precision
    assert after - before < 256 * KIB  # ... and 20 MiB of them were held by the answer
    assert len(np.unique(found.labels)) == 30


def test_what_is_kept_of_a_tracklet_is_hardly_more_than_its_looks(traced):
    online = OnlineAssociation(dim=DIM, model_id="m")
    before, _ = tracemalloc.get_traced_memory()
    for number in range(60):
        whole = tracklet(number, crops=16)
        online.observe(whole)
        online.observe(whole, ended=True)
        del whole
        online.step((number + 10) * SECOND)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    assert online.people.tracklets == 60
    looks = 16 * DIM * 2
    assert (after - before) / 60 < looks + 5 * KIB  # 19 KiB more once


def test_a_tracklet_at_rest_looks_as_it_did():
    whole = tracklet(4, crops=16)
    kept = at_rest(whole)
    assert at_rest(kept) is kept
    assert (kept.embeddings.dtype, whole.embeddings.dtype) == (np.float16, np.float32)
    cosines = (kept.embeddings.astype(np.float32) * whole.embeddings).sum(axis=1)
    np.testing.assert_allclose(cosines, 1.0, atol=2e-4)
    before, after = (mean_embedding(t.embeddings, t.qualities) for t in (whole, kept))
    assert before @ after > 1 - 1e-6
    member = Member.of(whole, ended=True)
    assert member.exemplars.dtype == np.float32
    rows = diverse(kept.embeddings, after)
    np.testing.assert_array_equal(member.exemplars, kept.embeddings[rows].astype(np.float32))
    assert len(np.unique(rows)) == 4
