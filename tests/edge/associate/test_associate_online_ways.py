"""What a live run makes of ways and of time: who comes too soon, and who comes back after hours."""

from __future__ import annotations

import copy

from test_associate_online import association, at, reviewed, tracklet

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.associate.online import EventKind

WALKERS, WAY_S = 40, 8


def met_again(online, start):
    """What is told when somebody who left `a` at 204 s comes into `b`; `online` stays as it is."""
    after = copy.deepcopy(online)
    after.observe(tracklet("b", 1001, start, start + 4, 100), ended=True)
    (event,) = after.step(at(start + 4))
    return event


def with_somebody_in_a(online):
    online.observe(tracklet("a", 1000, 200, 204, 100), ended=True)
    online.step(at(204))
    return online


def test_nobody_is_quicker_than_the_way_takes():
    online = association()
    online.site = AssociationConfig(least_transit_s={("a", "b"): 6.0})
    with_somebody_in_a(online)
    assert met_again(online, 205).kind is EventKind.NEW  # nobody was seen in b before
    assert met_again(online, 212).kind is EventKind.MATCHED
    online.site = AssociationConfig()
    assert met_again(online, 205).kind is EventKind.MATCHED


def test_what_is_said_of_views_holds_at_once():
    online = association()
    with_somebody_in_a(online)
    assert met_again(online, 201).kind is EventKind.MATCHED
    online.site = AssociationConfig(separate=frozenset({frozenset("ab")}))
    assert met_again(online, 201).kind is EventKind.NEW
    online.observe(tracklet("b", 1002, 230, 234, 100), ended=True)
    online.step(at(234))
    reviewed(online, at(234))  # b is known by now
    assert met_again(online, 201).kind is EventKind.NEW
    online.site = AssociationConfig(overlapping=frozenset({frozenset("ab")}))
    assert met_again(online, 201).kind is EventKind.MATCHED


def test_how_long_ways_take_is_learned_while_the_run_goes_on():
    online = association()
    online.observe(tracklet("a", 999, -20, -16, 99), ended=True)
    online.step(at(-16))  # so that there is something to go by, and no way in it
    for k in range(WALKERS):
        online.observe(tracklet("a", 2 * k, k, k + 4, k), ended=True)
        there = k + 4 + WAY_S
        online.observe(tracklet("b", 2 * k + 1, there, there + 4, k), ended=True)
    online.step(at(100))
    assert len(online.people) == WALKERS + 1
    with_somebody_in_a(online)
    soon, late = (met_again(online, 204 + gap) for gap in (1, WAY_S))
    assert soon.odds == late.odds  # nothing is known of ways yet
    reviewed(online, at(204))
    soon, late = (met_again(online, 204 + gap) for gap in (1, WAY_S))
    assert soon.odds < late.odds - 0.5
    assert late.kind is EventKind.MATCHED


def test_who_comes_back_after_hours_is_known_again():
    online = association()
    for k in range(6):
        online.observe(tracklet("a", k + 1, 10 * k, 10 * k + 6, k), ended=True)
        online.step(at(10 * k + 6))
    before = {k: online.people.id_of(tracklet("a", k + 1, 0, 1, k).key) for k in range(6)}
    hours = 5 * 3600
    for k in range(20):  # others, in the meantime
        start = 600 + k * (hours // 20)
        online.observe(tracklet("a", 100 + k, start, start + 6, 50 + k), ended=True)
        reviewed(online, at(start + 6))
    for k in range(6):
        start = hours + 1000 + 10 * k
        back = tracklet("ab"[k % 2], 200 + k, start, start + 6, k, seed=1)
        online.observe(back, ended=True)
        online.step(at(start + 6))
        assert online.people.id_of(back.key) == before[k]
    reviewed(online, at(hours + 1100), times=3)
    assert len(online.people) == 26
