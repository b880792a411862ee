"""People merged and split by hand: told, kept, and left alone by every later review."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_associate_online import DIM, association, at, tracklet, walk

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.associate.online import EventKind
from crosscam_edge.associate.online.by_hand import merge_by_hand, split_by_hand
from crosscam_edge.gallery import Gallery
from crosscam_edge.live.identities import Identities
from crosscam_edge.track.live import LiveFrame
from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import InputError


def reviewed_as(online, group, now, times=3):
    """Have reviews find what `group` says of each tracklet; returns what is told."""
    for _ in range(times):
        review = online.review(now)
        found = review.solve(online.model_id, online.site)
        labels = np.array([group(each) for each in review.tracklets])
        online.correct(review, replace(found, labels=labels), now)
    return online.step(now)


def by_person(tracklet):
    return (tracklet.track_id - 1) % 2


@pytest.fixture
def two():
    """Two people in three cameras each, known as 1 and 2; tracks 1, 3, 5 and 2, 4, 6."""
    online = association()
    ids = walk(online, people=2, cameras=3)
    assert set(ids.values()) == {1, 2}
    return online


def test_reviews_would_undo_both_if_they_could(two):
    reviewed_as(two, lambda _: 0, at(60))
    assert set(two.people.by_id) == {1}
    events = reviewed_as(two, by_person, at(61))
    assert EventKind.SPLIT in {each.kind for each in events}


def test_merged_by_hand_stays_merged(two):
    assert merge_by_hand(two, 1, 2, at(60)) == 2
    (told,) = two.step(at(60))
    assert (told.kind, told.global_id, told.other_id, told.cause) == ("merged", 2, 1, "by hand")
    assert reviewed_as(two, by_person, at(61)) == []
    assert set(two.people.by_id) == {2}
    assert len(two.people.by_id[2].members) == 6


def test_split_by_hand_stays_split(two):
    reviewed_as(two, lambda _: 0, at(60))
    keys = [TrackletKey("c0", 2), TrackletKey("c1", 4), TrackletKey("c2", 6)]
    new = split_by_hand(two, 1, keys, at(61))
    told = two.step(at(61))
    assert [each.kind for each in told] == ["split", "moved", "moved", "moved"]
    assert {each.cause for each in told} == {"by hand"}
    assert new == 3
    assert reviewed_as(two, lambda _: 0, at(62)) == []
    assert {key: two.people.id_of(key) for key in keys} == dict.fromkeys(keys, 3)
    # By hand it can be taken back.
    merge_by_hand(two, 3, 1, at(63))
    assert set(two.people.by_id) == {1}
    assert len(two.people.by_id[1].members) == 6


def test_who_was_split_stays_apart_under_the_id_of_somebody_else(two):
    reviewed_as(two, lambda _: 0, at(60))
    new = split_by_hand(two, 1, [TrackletKey("c0", 2)], at(61))
    other = tracklet("c9", 50, 62, 66, 9)
    two.observe(other, ended=True)
    two.step(at(66))
    third = two.people.id_of(other.key)
    merge_by_hand(two, new, third, at(67))
    reviewed_as(two, lambda _: 0, at(68))
    assert set(two.people.by_id) == {1, third}


def test_new_tracklets_may_still_be_anybody(two):
    for track, start in ((58, 50), (59, 55)):  # most of what is known of 1 is to look like this
        two.observe(tracklet("c0", track, start, start + 4, 1), ended=True)
    two.step(at(60))
    merge_by_hand(two, 2, 1, at(60))
    again = tracklet("c0", 60, 70, 74, 1)
    two.observe(again, ended=True)
    two.step(at(74))
    assert two.people.id_of(again.key) == 1


@pytest.mark.parametrize(("absorbed", "into"), [(1, 1), (1, 99), (99, 1)])
def test_who_cannot_be_merged(two, absorbed, into):
    with pytest.raises(InputError):
        merge_by_hand(two, absorbed, into, at(60))
    assert set(two.people.by_id) == {1, 2}


def test_nobody_is_in_one_picture_twice_by_hand_either(two):
    for track, person in ((20, 0), (21, 1)):
        two.observe(tracklet("c0", track, 70, 80, person), ended=True)
    two.step(at(80))
    assert {two.people.id_of(TrackletKey("c0", track)) for track in (20, 21)} == {1, 2}
    with pytest.raises(InputError, match="same time"):
        merge_by_hand(two, 1, 2, at(81))


@pytest.mark.parametrize(
    "keys",
    [[], [TrackletKey("c0", 2)], [TrackletKey("x", 1)],
     [TrackletKey("c0", 1), TrackletKey("c1", 3), TrackletKey("c2", 5)]],
)  # fmt: skip
def test_what_cannot_be_split(two, keys):
    with pytest.raises(InputError):
        split_by_hand(two, 1, keys, at(60))
    assert set(two.people.by_id) == {1, 2}
    assert two.step(at(60)) == []


def test_what_was_decided_outlives_a_restart(tmp_path):
    def begin():
        kept = Gallery(tmp_path / "g.db", model_id="m", dim=DIM, now_ns=lambda: at(200), keep_s=1e9)
        found = Identities(
            dim=DIM, model_id="m", site=AssociationConfig(), gallery=kept, now_ns=at(200)
        )
        return kept, found

    kept, first = begin()
    for track, person in ((1, 0), (2, 1), (3, 0), (4, 1)):
        start = 10 * track
        seen = tracklet(f"c{track}", track, start, start + 4, person)
        first.take(LiveFrame(seen.camera_id, ended=[seen]), at(start + 5))
        first.step(at(start + 5))
    assert len(first.online.people) == 2
    merge_by_hand(first.online, 2, 1, at(50))
    first.step(at(52))
    new = split_by_hand(first.online, 1, [TrackletKey("c4", 4)], at(53))
    first.step(at(55))
    first._pool.shutdown()
    kept.close()

    kept, again = begin()
    online = again.online
    assert {k: online.people.id_of(TrackletKey(f"c{k}", k)) for k in (1, 2, 3, 4)} == {
        1: 1, 2: 1, 3: 1, 4: new,
    }  # fmt: skip
    for group in (lambda _: 0, by_person, lambda t: t.track_id):
        reviewed_as(online, group, at(60))
    assert {k: online.people.id_of(TrackletKey(f"c{k}", k)) for k in (1, 2, 3, 4)} == {
        1: 1, 2: 1, 3: 1, 4: new,
    }  # fmt: skip
    again._pool.shutdown()
    kept.close()
