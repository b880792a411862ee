"""A gallery that is killed, damaged, full, erased and restored."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.associate.online import EventKind, IdentityEvent
from crosscam_edge.gallery import Gallery
from crosscam_edge.gallery.rows import row_of, tracklet_of
from crosscam_edge.gallery.schema import MIGRATIONS, connect
from crosscam_edge.gallery.writer import Writer
from crosscam_edge.live.identities import Identities
from crosscam_edge.track.gaps import TrackRow
from crosscam_edge.track.live import LiveFrame
from crosscam_edge.types import Tracklet, TrackletKey
from crosscam_kernels.errors import InputError

DIM, S = 16, 1_000_000_000


def tracklet(camera, track, start, end, person=0, *, crops=4):
    rng = np.random.default_rng([person, track])
    look = np.random.default_rng([7, person]).normal(size=DIM)
    rows = look + 0.1 * rng.normal(size=(crops, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Tracklet(
        camera, track, start * S, end * S, start * 10, end * 10, (end - start) * 10 + 1,
        np.array([1, 2, 3, 4], np.float32), np.array([5, 6, 7, 8], np.float32), (640, 480),
        rows.astype(np.float32), np.linspace(start * S, end * S, crops).astype(np.int64),
        np.linspace(0.5, 1, crops).astype(np.float32), np.array([9, 10], np.float32),
        np.array([11, 12], np.float32), (start * S, end * S),
    )  # fmt: skip


def gallery(path, *, now=1000, model="m", keep_s=1e9):
    return Gallery(path, model_id=model, dim=DIM, now_ns=lambda: now * S, keep_s=keep_s)


def same(a, b):
    for each in fields(a):
        x, y = getattr(a, each.name), getattr(b, each.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, each.name
            np.testing.assert_array_equal(x, y)
        else:
            assert x == y, each.name


def event(kind, global_id, key=None, other=0):
    return IdentityEvent(kind, 5 * S, global_id, key, other)


def test_what_was_put_is_restored(tmp_path):
    path = tmp_path / "gallery.db"
    first = gallery(path)
    kept = [tracklet("a", 1, 0, 4, 0), tracklet("b", 9, 2, 8, 1)]
    for number, each in enumerate(kept, 1):
        first.put(each, number)
    first.put(replace(kept[0], sure_ns=None), 1)  # as it stands now
    first.close()
    assert [f.name for f in tmp_path.iterdir()] == ["gallery.db"]  # nothing left beside it
    again = gallery(path)
    found = again.restore(0)
    assert [g for _, g in found.tracklets] == [1, 2]
    same(found.tracklets[0][0], replace(kept[0], sure_ns=None))
    same(found.tracklets[1][0], kept[1])
    assert (found.next_id, found.next_track, found.broken) == (3, {"a": 2, "b": 10}, 0)
    assert again.restore(5 * S).tracklets[0][1] == 2
    again.close()


def test_embeddings_of_another_model_are_left_alone(tmp_path):
    first = gallery(tmp_path / "g.db", model="old")
    first.put(tracklet("a", 1, 0, 4), 1)
    first.close()
    second = gallery(tmp_path / "g.db", model="new")
    found = second.restore(0)
    assert (found.tracklets, found.next_id) == ([], 2)
    assert second.journey(1)[0]["camera"] == "a"
    second.close()


def test_merged_people_are_one(tmp_path):
    found = gallery(tmp_path / "g.db")
    for number in (1, 2, 3):
        found.put(tracklet("a", number, 10 * number, 10 * number + 4), number)
    found.tell(event(EventKind.MERGED, 2, other=3))
    found.tell(event(EventKind.MERGED, 1, other=2))
    assert [row["track"] for row in found.journey(3)] == [1, 2, 3]
    assert found.resolve(3) == 1
    assert {g for _, g in found.restore(0).tracklets} == {1}
    found.close()


def test_who_is_erased_leaves_no_trace(tmp_path):
    path = tmp_path / "g.db"
    found = gallery(path)
    gone, stays = tracklet("a", 1, 0, 4, 0), tracklet("a", 2, 6, 9, 1)
    other = tracklet("b", 3, 20, 24, 0)
    for each, number in ((gone, 1), (other, 3), (stays, 2)):
        found.put(each, number)
        found.tell(event(EventKind.NEW, number, each.key))
    found.tell(event(EventKind.MERGED, 1, other=3))
    assert found.erase(3, who="admin") == 2  # asked for by the id that was merged
    assert {g for _, g in found.restore(0).tracklets} == {2}
    left = b"".join(f.read_bytes() for f in tmp_path.iterdir())
    assert stays.embeddings[0].tobytes() in left
    for each in (gone, other):
        assert each.embeddings[0].tobytes() not in left
    with pytest.raises(InputError, match="no identity 3"):
        found.erase(3, who="admin")
    assert found.restore(0).next_id == 4  # the number is not given again
    found.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT who, action, detail FROM audit").fetchall() == [
            ("admin", "erase", "identity 1")
        ]
        assert plain.execute("SELECT global_id FROM events").fetchall() == [(2,)]


def test_people_are_forgotten_when_it_is_time(tmp_path):
    path = tmp_path / "g.db"
    first = gallery(path)
    first.put(tracklet("a", 1, 0, 100), 1)
    first.put(tracklet("a", 2, 800, 900), 2)
    first.close()
    second = gallery(path, keep_s=500)
    second.writer.flush()
    assert [g for _, g in second.restore(0).tracklets] == [2]
    assert second.restore(0).next_id == 3
    second.close()


def test_looks_go_when_an_identity_ends(tmp_path):
    found = gallery(tmp_path / "g.db")
    found.put(tracklet("a", 1, 0, 4), 1)
    found.tell(event(EventKind.ENDED, 1))
    assert len(found.journey(1)) == 1  # where somebody was is kept for as long as is set
    assert found.restore(0).tracklets == []
    found.close()


KILLED = """
import sys, time, numpy as np
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_gallery import gallery, tracklet
found = gallery(Path(sys.argv[1]))
for n in range(1, 100000):
    found.put(tracklet("a", n, n, n + 1), n)
    print(n, flush=True)
    time.sleep(0.005)
"""


def test_a_kill_loses_a_second_at_most(tmp_path):
    path = tmp_path / "g.db"
    here = os.path.dirname(__file__)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, path, here], stdout=subprocess.PIPE, text=True
    )
    at = []
    while len(at) < 400:
        at.append((int(child.stdout.readline()), time.monotonic()))
    child.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    child.wait()
    safe = max(n for n, when in at if killed - when > 1.0)
    found = gallery(path)
    left = found.restore(0)
    assert len(left.tracklets) >= safe
    assert [t.track_id for t, _ in left.tracklets] == list(range(1, len(left.tracklets) + 1))
    assert left.broken == 0
    found.close()


def test_files_that_are_no_galleries(tmp_path):
    text = tmp_path / "text.db"
    text.write_text("these are not the rows that you are looking for " * 100)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as plain:
        plain.execute("CREATE TABLE people (name TEXT)")
    later = tmp_path / "later.db"
    connect(later).close()
    with sqlite3.connect(later) as plain:
        plain.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    for path, words in (
        (text, "cannot be used"), (other, "something else"), (later, "later crosscam"),
        (tmp_path / "none" / "g.db", "cannot be used"), (tmp_path, "cannot be used"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            gallery(path)


def test_broken_rows_are_left_out_and_counted(tmp_path):
    path = tmp_path / "g.db"
    first = gallery(path)
    for number in (1, 2, 3, 4):
        first.put(tracklet("a", number, 0, 4), number)
    first.close()
    with sqlite3.connect(path) as plain:
        plain.execute("UPDATE tracklets SET embeddings = x'00' WHERE track = 1")
        plain.execute("UPDATE tracklets SET embeddings = zeroblob(256) WHERE track = 2")
        plain.execute("UPDATE tracklets SET boxes = 'text' WHERE track = 3")
    again = gallery(path)
    found = again.restore(0)
    assert ([g for _, g in found.tracklets], found.broken) == ([4], 3)
    again.close()


@given(
    st.integers(1, 6), st.integers(0, 2**40), st.integers(1, 2**31),
    st.booleans(), st.text("abcXYZ019._-", min_size=1, max_size=20),
)  # fmt: skip
def test_any_tracklet_survives_its_row(crops, start, track, sure, camera):
    made = replace(
        tracklet(camera, track, 0, 4, crops=crops), start_ns=start,
        sure_ns=(start, start + 5) if sure else None,
    )  # fmt: skip
    same(tracklet_of(row_of(made, 3, "m"), DIM), made)


def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path):
    connection = connect(tmp_path / "g.db")

    class Full:
        in_transaction = False
        broken = True

        def execute(self, *args):
            if self.broken:
                raise sqlite3.OperationalError("database or disk is full")
            return connection.execute(*args)

    disk = Full()
    writer = Writer(disk, every_s=0.01)
    for n in range(10):
        writer.put("INSERT INTO counters VALUES (?, ?)", (str(n), n))
    assert not writer.flush(timeout=0.2)
    assert writer.failures >= 1
    disk.broken = False
    assert writer.flush()
    writer.close()
    assert (writer.written, writer.dropped) == (10, 0)
    assert connection.execute("SELECT count(*) FROM counters").fetchone() == (10,)
    connection.close()


def test_ids_go_on_after_a_restart(tmp_path):
    path = tmp_path / "g.db"

    def identities(now):
        kept = gallery(path, now=now)
        found = Identities(
            dim=DIM, model_id="m", site=AssociationConfig(), gallery=kept, now_ns=now * S
        )
        return kept, found

    kept, before = identities(100)
    before.take(LiveFrame("a", ended=[tracklet("a", 1, 0, 9, 0), tracklet("a", 2, 0, 9, 1)]), 9 * S)
    assert [e.kind for e in before.finish(10 * S)] == [EventKind.NEW] * 2
    kept.close()
    kept, after = identities(200)
    assert after.next_track == {"a": 3}
    after.take(LiveFrame("a", ended=[tracklet("b", 1, 150, 159, 1)]), 159 * S)
    after.take(LiveFrame("a", ended=[tracklet("b", 2, 160, 169, 5)]), 169 * S)
    events = after.finish(200 * S)
    assert [(e.kind, e.global_id) for e in events] == [
        (EventKind.MATCHED, 2),
        (EventKind.NEW, 3),
    ]
    assert after.id_of(TrackletKey("b", 1)) == 2
    assert [row["camera"] for row in kept.journey(2)] == ["a", "b"]
    kept.close()


def snapshot(path, folder):
    """What a `kill -9` would leave of a gallery now."""
    folder.mkdir()
    for each in path.parent.glob(f"{path.name}*"):
        (folder / each.name).write_bytes(each.read_bytes())
    return folder / path.name


def test_after_a_crash_no_id_is_given_twice(tmp_path):
    """Ids are told at once and written a moment later: the disk is always ahead of them."""
    first = gallery(tmp_path / "gallery.db")
    assert first.restore(0).next_id == 1
    first.given("a", 0)  # camera a begins
    assert first.writer.flush()
    left = snapshot(tmp_path / "gallery.db", tmp_path / "left")
    for number in range(1, 301):  # of these the disk knows nothing yet
        first.tell(event(EventKind.NEW, number))
        first.given("a", number + 7)
    early = gallery(left)
    found = early.restore(0)
    assert found.next_id > 300
    assert found.next_track["a"] > 307
    assert set(found.next_track) == {"a"}
    early.writer.flush()
    # killed again, before anything happened
    again = gallery(snapshot(left, tmp_path / "again"))
    assert again.restore(0).next_id > found.next_id
    # reservations follow what is given
    for number in range(301, 5000):
        first.tell(event(EventKind.NEW, number))
    assert first.writer.flush()
    late = gallery(snapshot(tmp_path / "gallery.db", tmp_path / "late"))
    assert late.restore(0).next_id > 5300
    for each in (first, early, again, late):
        each.close()


def test_who_ends_cleanly_leaves_no_gap_and_who_only_looks_frees_nothing(tmp_path):
    path = tmp_path / "gallery.db"
    first = gallery(path)
    first.restore(0)
    first.tell(event(EventKind.NEW, 3))
    first.given("a", 9)  # of a track that never had an id
    assert first.writer.flush()
    left = snapshot(path, tmp_path / "left")
    first.close()
    again = gallery(path)
    found = again.restore(0)
    assert (found.next_id, found.next_track) == (4, {"a": 10})
    again.close()
    looking = gallery(left)  # somebody erases, or counts, after a crash
    looking.close()
    after = gallery(left)
    assert after.restore(0).next_id > 500
    after.close()


def test_tracks_without_an_id_are_counted_too(tmp_path):
    path = tmp_path / "gallery.db"
    keeps = gallery(path)
    identities = Identities(dim=DIM, model_id="m", site=AssociationConfig(), gallery=keeps)
    assert identities.first_track("a") == 1
    box = np.array([0, 0, 9, 9], np.float32)
    rows = [TrackRow(1, S, track, box, 0.9) for track in (5, 12, 6)]
    identities.take(LiveFrame("a", rows=rows), S)
    identities.finish(2 * S)
    keeps.close()
    again = gallery(path)
    later = Identities(dim=DIM, model_id="m", site=AssociationConfig(), gallery=again)
    assert later.first_track("a") == 13
    assert later.first_track("b") == 1
    later.finish(3 * S)
    again.close()
