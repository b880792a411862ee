"""An association that goes on with another model: ids stay, embeddings are never mixed."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_edge.associate.online import EventKind, OnlineAssociation
from crosscam_edge.embed.translation import Translation, translated
from crosscam_edge.track.appearance import Memory
from crosscam_edge.types import Tracklet, TrackletKey
from crosscam_kernels.errors import InputError

SECOND = 1_000_000_000
OLD, NEW = 64, 32


def crops(person, dim, count, seed):
    look = np.random.default_rng([dim, person]).normal(size=dim)
    rows = look + 0.3 * np.random.default_rng([seed, person, dim]).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tracklet(camera, track, start, person, *, dim=OLD, count=6):
    times = (start * SECOND + np.arange(count) * SECOND // 2).astype(np.int64)
    box = np.zeros(4, np.float32)
    return Tracklet(
        camera, track, int(times[0]), int(times[-1]), start * 10, start * 10 + 30, 31, box, box,
        (640, 480), crops(person, dim, count, track), times, np.ones(count, np.float32),
    )  # fmt: skip


@pytest.fixture
def old():
    online = OnlineAssociation(dim=OLD, model_id="old")
    for person in range(4):
        online.observe(tracklet("a", person + 1, person * 10, person), ended=person < 3)
        online.step((person * 10 + 4) * SECOND)
    assert [online.people.id_of(TrackletKey("a", k)) for k in (1, 2, 3, 4)] == [1, 2, 3, 4]
    return online


def after(old, seen):
    """Go over to a model that has seen these tracks, by person."""
    translation = Translation(NEW)
    for track, person in seen.items():
        identity = old.people.by_id[old.people.id_of(TrackletKey("a", track))]
        rows = identity.members[TrackletKey("a", track)].tracklet.embeddings
        translation.put(rows[:4], crops(person, NEW, 4, track))
    new = OnlineAssociation(dim=NEW, model_id="new")
    return new, new.take_over(old, translation)


def test_people_are_known_again_by_the_new_model(old):
    new, lost = after(old, {1: 0, 2: 1, 4: 3})
    assert lost == 1  # the third was not seen, and is gone
    assert sorted(new.people.by_id) == [1, 2, 4]
    member = new.people.by_id[1].members[TrackletKey("a", 1)]
    assert member.tracklet.embeddings.shape == (4, NEW)
    assert new.counts == old.counts
    for person, expected in ((1, 2), (2, 5)):  # nobody gets the id of somebody who was lost
        key = TrackletKey("b", 10 + person)
        new.observe(tracklet("b", key.track_id, 100 + 10 * person, person, dim=NEW), ended=True)
        new.step((105 + 10 * person) * SECOND)
        assert new.people.id_of(key) == expected


def test_who_is_in_the_picture_keeps_the_id_without_having_been_seen(old):
    new, lost = after(old, {1: 0})
    key = TrackletKey("a", 4)
    assert lost == 2
    assert (new.id_of(key), new.people.id_of(key)) == (4, None)
    new.observe(tracklet("a", 4, 30, 3, dim=NEW))
    assert new.people.id_of(key) == 4
    assert [e.kind for e in new.step(40 * SECOND)] == []  # nothing has happened


def test_who_is_erased_meanwhile_stays_erased(old):
    new, _ = after(old, {1: 0})
    assert new.erase(4)
    new.observe(tracklet("a", 4, 30, 3, dim=NEW))
    assert new.id_of(TrackletKey("a", 4)) is None
    assert new.step(40 * SECOND) == []


def test_what_was_about_to_be_told_is_told(old):
    old.observe(tracklet("b", 9, 50, 0), ended=True)
    old.discard(TrackletKey("a", 4), 50 * SECOND)
    new, _ = after(old, {1: 0})
    assert [e.kind for e in new.step(60 * SECOND)] == [EventKind.ENDED]


def test_the_two_spaces_never_meet(old):
    new, _ = after(old, {1: 0})
    with pytest.raises(InputError, match="length 64"):
        new.observe(tracklet("b", 9, 50, 0))


def test_a_translation_is_bounded_and_knows_rows_by_their_bytes_in_half_precision():
    translation = Translation(2, most=3)
    old = np.eye(4, dtype=np.float32)
    new = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
    translation.put(old, new)
    assert len(translation) == 3  # of the last there are no looks
    rows, known = translation.of(old[[2, 3, 0]])
    np.testing.assert_array_equal(rows, new[[2, 0]])
    assert known.tolist() == [True, False, True]
    translation.put(2 * old[:1], new[:1])
    assert translation.of(old[:1])[1].tolist() == [False]  # the oldest has gone
    assert translation.of(old[1:2].astype(np.float16))[1].all()  # as it is kept
    nudged = np.nextafter(old[1:2].astype(np.float16), np.float16(2))
    assert not translation.of(nudged)[1].any()
    with pytest.raises(ValueError, match="4 old and 3 new"):
        translation.put(old, new[:3])


def test_memories_and_tracklets_keep_what_the_new_model_has_seen():
    translation = Translation(NEW)
    found = tracklet("a", 1, 0, 0)
    translation.put(found.embeddings[1:3], crops(0, NEW, 2, 1))
    small = translated(found, translation)
    assert small.embeddings.shape == (2, NEW)
    assert small.embedding_times_ns.tolist() == found.embedding_times_ns[1:3].tolist()
    memory = Memory(8)
    for row in found.embeddings:
        memory.add(row, 1.0)
    memory.translate(translation)
    assert (len(memory), memory.mean.shape) == (2, (NEW,))
    assert memory.similarity(crops(0, NEW, 1, 1))[0] > 0.9
    memory.translate(Translation(5))
    assert len(memory) == 0
    assert np.isnan(memory.similarity(np.ones((1, 5), np.float32))).all()
    memory.add(np.ones(5, np.float32), 1.0)
    assert memory.embeddings.shape == (1, 5)
