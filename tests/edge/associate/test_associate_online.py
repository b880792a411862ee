"""Association as it happens: the hard rule always, ids that stay, corrections that are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_edge.associate.online import EventKind, OnlineAssociation, OnlineConfig
from crosscam_edge.associate.online.compare import answer
from crosscam_edge.associate.online.index import Index
from crosscam_edge.associate.online.review import Review, wanted
from crosscam_edge.types import Tracklet, TrackletKey
from crosscam_kernels.errors import InputError, UsageError

DIM = 64
SECOND = 1_000_000_000


def tracklet(camera, track, start, end, person, *, crops=6, noise=0.3, seed=0):
    """A tracklet from `start` to `end`, seconds, of somebody who looks like `person`."""
    rng = np.random.default_rng([seed, track])
    look = np.random.default_rng([7, person]).normal(size=DIM)
    e = look + noise * rng.normal(size=(crops, DIM))
    e /= np.linalg.norm(e, axis=1, keepdims=True) if crops else 1.0
    return Tracklet(
        camera, track, int(start * SECOND), int(end * SECOND), int(start * 10), int(end * 10),
        int((end - start) * 10) + 1, np.zeros(4, np.float32), np.zeros(4, np.float32), (640, 480),
        e.astype(np.float32), np.linspace(start * SECOND, end * SECOND, crops).astype(np.int64),
        np.ones(crops, np.float32),
    )  # fmt: skip


def at(seconds):
    return int(seconds * SECOND)


def association(**config):
    return OnlineAssociation(dim=DIM, model_id="m", settings=OnlineConfig(**config))


def reviewed(online, now, times=1):
    for _ in range(times):
        review = online.review(now)
        online.correct(review, review.solve(online.model_id, online.site), now)
    return online.step(now)


def walk(online, people, cameras, *, stay=4, gap=8):
    """Everybody walks through all cameras, one after the other; returns ids by (person, camera)."""
    found, track = {}, 0
    for c in range(cameras):
        for person in range(people):
            start = c * people * gap + person * gap
            track += 1
            t = tracklet(f"c{c}", track, start, start + stay, person)
            online.observe(t, ended=True)
            online.step(t.end_ns)
            found[person, c] = t.key
    return {where: online.people.id_of(key) for where, key in found.items()}


def test_people_keep_their_ids_in_every_camera():
    online = association()
    ids = walk(online, people=6, cameras=3)
    for person in range(6):
        assert len({ids[person, c] for c in range(3)}) == 1
    assert len(set(ids.values())) == 6
    assert online.counts[EventKind.NEW] == 6
    assert online.counts[EventKind.MATCHED] == 12


def test_an_event_says_why():
    online = association()
    online.observe(tracklet("a", 1, 0, 4, 0), ended=True)
    online.observe(tracklet("a", 2, 0, 4, 1), ended=True)
    first = online.step(at(4))
    assert [(e.kind, e.global_id) for e in first] == [(EventKind.NEW, 1), (EventKind.NEW, 2)]
    online.observe(tracklet("b", 3, 20, 24, 1), ended=True)
    (event,) = online.step(at(24))
    assert event.kind is EventKind.MATCHED
    assert (event.global_id, event.key) == (2, TrackletKey("b", 3))
    assert event.odds > 0 > event.runner_up
    assert event.runner_up_id == 1
    assert online.step(at(25)) == []


def test_a_living_tracklet_waits_for_crops():
    online = association(min_crops=3)
    young = tracklet("a", 1, 0, 1, 0, crops=2)
    online.observe(young)
    assert online.step(at(1)) == []
    online.observe(tracklet("a", 1, 0, 2, 0, crops=3))
    assert [e.kind for e in online.step(at(2))] == [EventKind.NEW]
    online.observe(young := tracklet("b", 2, 20, 21, 0, crops=1))
    assert online.step(at(21)) == []
    online.observe(young, ended=True)  # nothing more will come
    assert [e.kind for e in online.step(at(22))] == [EventKind.MATCHED]


def test_who_cannot_be_told_is_waited_for_but_not_for_ever():
    online = association(margin=1e9, patience_s=3)
    online.observe(tracklet("a", 1, 0, 4, 0), ended=True)
    online.step(at(4))
    online.observe(tracklet("b", 2, 10, 14, 1))
    assert online.step(at(14)) == []
    assert online.step(at(16.9)) == []
    assert [e.kind for e in online.step(at(17))] == [EventKind.NEW]


def test_nobody_is_twice_in_a_camera_at_once():
    online = association()
    online.observe(tracklet("a", 1, 0, 10, 0))
    online.step(at(10))
    online.observe(tracklet("a", 2, 5, 10, 0, seed=1))  # a twin beside him
    online.step(at(14))
    assert online.people.id_of(TrackletKey("a", 1)) != online.people.id_of(TrackletKey("a", 2))


def test_a_track_that_goes_on_after_its_id_was_given_away_becomes_somebody_else():
    online = association()
    online.observe(tracklet("a", 1, 0, 10, 0, crops=8))
    online.step(at(10))
    online.observe(tracklet("a", 2, 14, 20, 0, seed=1))
    online.step(at(20))
    assert online.people.id_of(TrackletKey("a", 2)) == 1
    online.observe(tracklet("a", 1, 0, 22, 0, crops=9))  # found again, beside the other
    online.observe(tracklet("a", 2, 14, 22, 0, seed=1))
    online.step(at(26))
    assert online.people.id_of(TrackletKey("a", 1)) == 1
    assert online.people.id_of(TrackletKey("a", 2)) == 2
    assert online.counts["parted"] == 1


def test_who_is_still_in_the_picture_is_nobody_else_in_it():
    online = association()
    standing = tracklet("a", 1, 0, 10, 0, crops=8)
    online.observe(standing)
    online.step(at(10))
    for second in range(11, 40):  # no new crops: nothing new to see
        online.sight(standing.key, at(second))
    online.observe(tracklet("a", 2, 20, 30, 0, seed=1), ended=True)  # a twin walks by
    online.step(at(39))
    assert online.people.id_of(TrackletKey("a", 2)) == 2
    newcomer = tracklet("a", 3, 40, 41, 5, crops=1)
    online.observe(newcomer)
    online.sight(newcomer.key, at(50))
    online.observe(replace(newcomer, end_ns=at(50)), ended=True)
    online.step(at(50))
    assert online.people.id_of(newcomer.key) == 3


def test_a_review_that_knows_less_than_is_remembered_merges_nobody():
    online = association(agreement=1)
    for track, start in ((1, 0), (2, 0)):  # twins, seen at once, long ago
        online.observe(tracklet("a", track, start, start + 10, 0, seed=track), ended=True)
    online.step(at(10))
    for track, camera in ((3, "b"), (4, "c")):
        online.observe(tracklet(camera, track, 2000 * track, 2000 * track + 10, 0), ended=True)
        online.step(at(2000 * track + 10))
    first, second = (online.people.id_of(TrackletKey("a", k)) for k in (1, 2))
    later = (tracklet("b", 3, 6000, 6010, 0), tracklet("c", 4, 8000, 8010, 0))
    review = Review(later, (first, second), frozenset(t.key for t in later))
    found = review.solve("m", online.site)
    online.correct(review, replace(found, labels=np.zeros(2, np.int64)), at(9000))
    assert {first, second} <= set(online.people.by_id)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 60), st.integers(1, 20)),
        max_size=16,
    ),
    st.sampled_from([0.1, 0.8]),
)
def test_the_hard_rule_holds_whatever_comes(visits, noise):
    online = association(patience_s=0, agreement=1)
    ends = sorted(
        (start + length, number, camera, person, start)
        for number, (camera, person, start, length) in enumerate(visits, 1)
    )
    kept = []
    for end, number, camera, person, start in ends:
        t = tracklet(f"c{camera}", number, start, end, person, noise=noise)
        online.observe(t, ended=True)
        events = online.step(at(end))
        assert all(e.global_id > 0 for e in events)
        kept.append(t)
        if number % 2 == 0:
            review = online.review(at(end))
            if review is not None:
                online.correct(review, review.solve("m", online.site), at(end))
    online.step(at(200))
    for i, a in enumerate(kept):
        assert online.people.id_of(a.key) is not None
        for b in kept[:i]:
            if online.people.id_of(a.key) == online.people.id_of(b.key):
                assert not (
                    a.camera_id == b.camera_id and a.start_ns <= b.end_ns and b.start_ns <= a.end_ns
                )


def test_two_ids_of_one_person_are_merged_once_reviews_agree():
    online = association(agreement=2)
    for person in range(5):
        online.observe(tracklet("a", 10 + person, person, 30, person), ended=True)
    online.step(at(30))
    online.observe(tracklet("b", 1, 40, 44, 66, crops=3), ended=True)  # looks like somebody else
    online.step(at(44))
    assert online.people.id_of(TrackletKey("b", 1)) == 6
    better = tracklet("b", 1, 40, 50, 2, crops=12)
    online.observe(better, ended=True)
    assert reviewed(online, at(50)) == []  # one review alone is not believed
    events = reviewed(online, at(51))
    assert [(e.kind, e.global_id, e.other_id) for e in events] == [(EventKind.MERGED, 3, 6)]
    assert online.people.id_of(TrackletKey("b", 1)) == 3
    assert 6 not in online.people.by_id
    assert reviewed(online, at(52), times=3) == []


def test_who_was_taken_for_somebody_is_split_off():
    online = association(agreement=1)
    for person in range(5):
        online.observe(tracklet("a", 10 + person, person, 30, person), ended=True)
    online.step(at(30))
    online.observe(tracklet("b", 1, 40, 44, 2), ended=True)
    online.step(at(44))
    assert online.people.id_of(TrackletKey("b", 1)) == 3
    online.observe(tracklet("b", 1, 40, 50, 77, crops=12), ended=True)  # looked like him at first
    events = reviewed(online, at(50))
    assert [(e.kind, e.global_id, e.other_id) for e in events] == [
        (EventKind.SPLIT, 6, 3),
        (EventKind.MOVED, 6, 3),
    ]
    assert events[1].key == TrackletKey("b", 1)


def test_people_are_forgotten_and_come_back_as_somebody_new():
    online = association(ttl_s=60)
    online.observe(tracklet("a", 1, 0, 4, 0), ended=True)
    online.step(at(4))
    assert [e.kind for e in online.step(at(65))] == [EventKind.ENDED]
    assert len(online.people) == 0
    online.observe(tracklet("a", 2, 70, 74, 0), ended=True)
    assert [(e.kind, e.global_id) for e in online.step(at(74))] == [(EventKind.NEW, 2)]


def test_memory_is_bounded():
    online = association(most_identities=5, most_members=3, candidates=2, patience_s=0)
    for number in range(1, 60):
        start = 10 * number
        t = tracklet("a", number, start, start + 4, number % 20 if number > 20 else 0)
        online.observe(t, ended=True)
        online.step(t.end_ns)
    online.step(at(601))
    assert len(online.people) <= 5
    assert all(len(each.members) <= 3 for each in online.people)
    assert online.counts[EventKind.ENDED] >= 10
    known = {key for each in online.people for key in each.members}
    assert all(online.people.id_of(key) is not None for key in known)
    assert online.people.id_of(TrackletKey("a", 30)) is None


def test_tracklets_are_bounded_over_all_people():
    online = association(most_tracklets=7, most_members=4, patience_s=0)
    for number in range(1, 40):
        start = 10 * number
        t = tracklet("a", number, start, start + 4, number % 5)
        online.observe(t, ended=True)
        online.step(t.end_ns)
    online.step(at(401))
    left = [key for each in online.people for key in each.members]
    assert 4 <= len(left) <= 7
    assert online.people.tracklets == len(left)
    assert TrackletKey("a", 39) in left  # who was not seen for longest went


def test_who_was_nobody_is_forgotten():
    online = association()
    online.observe(tracklet("a", 1, 0, 4, 0))
    online.step(at(8))
    online.discard(TrackletKey("a", 1), at(9))
    assert [(e.kind, e.global_id) for e in online.step(at(9))] == [(EventKind.ENDED, 1)]
    online.observe(tracklet("a", 2, 20, 24, 0, crops=1))
    online.discard(TrackletKey("a", 2), at(24))
    assert online.step(at(40)) == []
    online.discard(TrackletKey("a", 99), at(41))  # never heard of


def test_a_tracklet_without_crops_is_counted():
    online = association()
    online.observe(tracklet("a", 1, 0, 4, 0, crops=0), ended=True)
    assert online.step(at(4)) == []
    assert online.counts["blind"] == 1


def test_embeddings_of_another_model_are_refused():
    online = association()
    other = tracklet("a", 1, 0, 4, 0)
    with pytest.raises(InputError, match="length 32"):
        online.observe(replace(other, embeddings=other.embeddings[:, :32]))


@pytest.mark.parametrize("wrong", [{"min_crops": 0}, {"margin": -1.0}, {"ttl_s": float("nan")}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        OnlineConfig(**wrong)


def test_the_hard_rule_decides_between_newcomers():
    odds = np.array([[5.0, 4.0], [6.0, -2.0], [3.0, -np.inf]])
    found = answer(odds)
    assert [a.column for a in found] == [1, 0, -1]
    assert found[2].taken  # by the second
    assert [a.second for a in found] == [0, 1, 0]
    assert answer(np.zeros((1, 0)))[0].column == -1


def named(owners, labels, *, movable=None, sights=None):
    """What is wanted of tracklets 0, 1, ... with these owners, in these groups."""
    sights = sights or [10] * len(owners)
    items = tuple(
        replace(tracklet("a", k, k, k + 0.5, 0), observations=n) for k, n in enumerate(sights)
    )
    keys = frozenset(t.key for k, t in enumerate(items) if movable is None or k in movable)
    found = wanted(Review(items, tuple(owners), keys), labels)
    return dict(found.merged), {key.track_id: target for key, target in found.moved.items()}


def test_names_of_groups():
    assert named([1, 1, 2], [0, 0, 2]) == ({}, {})
    assert named([1, 2], [0, 0]) == ({2: 1}, {})  # who was known first stays
    assert named([2, 2, 2, 1], [0, 0, 0, 0]) == ({2: 1}, {})
    assert named([1, 1, 1], [0, 0, 2]) == ({}, {2: -3})  # a new one
    assert named([1, 1, 2], [0, 1, 1], sights=[10, 1, 9]) == ({}, {1: 2})
    assert named([1, 1, 1], [0, 0, 2], movable={0, 1}) == ({}, {})  # too long ago


def test_the_index_finds_what_a_plain_search_finds():
    rng = np.random.default_rng(0)
    index, vectors = Index(8), {}
    centre, query = rng.normal(size=8) * 0.2, rng.normal(size=8)
    for step in range(400):
        name = int(rng.integers(1, 120))
        if name in vectors and step % 3 == 0:
            index.remove(name)
            del vectors[name]
        else:
            vectors[name] = rng.normal(size=8)
            index.put(name, vectors[name])
        if step % 90 == 50:
            centre = rng.normal(size=8) * 0.2
        if step % 7 == 0 and vectors:
            assert len(index) == len(vectors)
            names = sorted(vectors)
            rows = np.stack([vectors[n] for n in names]) - centre
            alike = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ (query - centre)
            best = sorted(names[k] for k in np.argsort(-alike)[:5])
            assert index.nearest([query], centre, 5) == best
            assert index.nearest([query], centre, 10_000) == names
