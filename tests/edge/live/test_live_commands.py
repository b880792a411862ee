"""Requests to the run's thread, and people who are to be forgotten while they are seen."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pytest

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.associate.online import EventKind, OnlineAssociation
from crosscam_edge.live.commands import Commands
from crosscam_edge.types import Tracklet, TrackletKey
from crosscam_kernels.errors import RunError

DIM, S = 16, 1_000_000_000


def tracklet(camera, track, start, end, person):
    look = np.random.default_rng([7, person]).normal(size=DIM)
    rows = look + 0.1 * np.random.default_rng([person, track]).normal(size=(4, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    box = np.array([1, 2, 3, 4], np.float32)
    return Tracklet(
        camera, track, start * S, end * S, start * 10, end * 10, (end - start) * 10 + 1, box, box,
        (640, 480), rows.astype(np.float32), np.linspace(start * S, end * S, 4).astype(np.int64),
        np.ones(4, np.float32), box[:2], box[:2], (start * S, end * S),
    )  # fmt: skip


def association():
    """Returns one that knows somebody who left, and the same person in another camera."""
    found = OnlineAssociation(dim=DIM, model_id="m", site=AssociationConfig())
    found.observe(tracklet("a", 1, 0, 4, 0), ended=True)
    found.step(5 * S)
    found.observe(tracklet("b", 2, 20, 24, 0))
    found.step(30 * S)
    return found


def test_what_is_asked_for_is_done_in_order_by_one_thread():
    commands, done = Commands(), []
    first, second = commands.ask(lambda: done.append(1)), commands.ask(lambda: done.append(2) or 7)
    assert not first.done()
    commands.carry_out()
    assert (done, second.result(0)) == ([1, 2], 7)


def test_what_fails_or_is_cancelled_harms_nobody_else():
    commands, done = Commands(), []
    failing, cancelled = commands.ask(lambda: 1 / 0), commands.ask(lambda: done.append(1))
    last = commands.ask(lambda: 3)
    assert cancelled.cancel()
    commands.carry_out()
    with pytest.raises(ZeroDivisionError):
        failing.result(0)
    with pytest.raises(CancelledError):
        cancelled.result(0)
    assert (done, last.result(0)) == ([], 3)


def test_too_many_and_too_late_are_refused():
    commands = Commands(most=1)
    waiting = commands.ask(lambda: 1)
    with pytest.raises(RunError, match="wait already"):
        commands.ask(lambda: 2)
    commands.close()
    with pytest.raises(RunError, match="has ended"):
        waiting.result(0)
    with pytest.raises(RunError, match="has ended"):
        commands.ask(lambda: 3)


def test_whoever_is_erased_while_in_view_stays_nobody_until_the_track_ends():
    found = association()
    key = TrackletKey("b", 2)
    (owner,) = {found.people.id_of(key)}
    assert owner is not None
    assert found.erase(owner)
    assert not found.erase(owner)
    longer = replace(tracklet("b", 2, 20, 40, 0), end_ns=40 * S)
    found.observe(longer)
    found.sight(key, 41 * S)
    assert found.step(42 * S) == []
    found.observe(longer, ended=True)
    assert found.step(50 * S) == []
    assert found.people.id_of(key) is None
    # Afterwards the same looks are somebody new, and the id is not given again.
    found.observe(tracklet("a", 3, 60, 64, 0), ended=True)
    events = found.step(70 * S)
    assert [event.kind for event in events] == [EventKind.NEW]
    assert events[0].global_id > owner


def test_what_was_about_to_be_told_of_the_erased_is_not():
    found = OnlineAssociation(dim=DIM, model_id="m", site=AssociationConfig())
    found.observe(tracklet("a", 1, 0, 4, 0))
    (began,) = found.step(20 * S) or found.step(40 * S)
    found.discard(TrackletKey("a", 1), 41 * S)  # the identity has ended, and nobody knows yet
    assert not found.erase(began.global_id)
    assert found.step(42 * S) == []
