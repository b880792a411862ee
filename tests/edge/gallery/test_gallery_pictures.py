"""Which pictures are kept of whom, and that they go with the looks."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import cv2
import numpy as np
from test_gallery import DIM, S, event, gallery, tracklet

from crosscam_edge.associate.online import EventKind
from crosscam_edge.gallery import Gallery, Pictures, Reader
from crosscam_edge.gallery.schema import APPLICATION_ID, MIGRATIONS
from crosscam_edge.gallery.writer import Late, Writer
from crosscam_edge.track.gaps import TrackRow
from crosscam_edge.track.live import LiveFrame
from crosscam_edge.types import Frame, TrackletKey


class Seen:
    """A camera in which one track after the other is seen; `owners` says who they are."""

    def __init__(self, kept, owners):
        self.kept, self.owners, self.ignored = kept, owners, set()
        self.pictures = Pictures(kept, owners.get, self.ignored.__contains__)

    def crop(self, track, second, quality, *, value=100, camera="a", size=(60, 20)):
        key = TrackletKey(camera, track)
        image = np.full((480, 640, 3), value, np.uint8)
        box = np.array([10, 10, 10 + size[1], 10 + size[0]], np.float32)
        grown = replace(
            tracklet(camera, track, 0, second, crops=1),
            embedding_times_ns=np.array([second * S]), qualities=np.array([quality], np.float32),
        )  # fmt: skip
        if key in self.owners:
            self.kept.put(grown, self.owners[key])
        rows = [TrackRow(second, second * S, track, box, 0.9)]
        frame = Frame(camera, second, second * S, image)
        self.pictures.look(frame, LiveFrame(camera, rows, [grown]))

    def pass_time(self, second, **brought):
        frame = Frame("a", second, second * S, np.zeros((4, 4, 3), np.uint8))
        self.pictures.look(frame, LiveFrame("a", **brought))


def stored(path):
    with sqlite3.connect(path) as connection:
        return connection.execute(
            "SELECT camera, track, time_ns / 1000000000, round(quality, 2) FROM pictures "
            "ORDER BY id"
        ).fetchall()


def test_the_best_of_a_track_are_kept_apart_in_time(tmp_path):
    path = tmp_path / "g.db"
    kept = gallery(path)
    seen = Seen(kept, {TrackletKey("a", 1): 5})
    for second, quality in ((1, 0.5), (3, 0.3), (5, 0.4), (7, 0.2), (9, 0.9)):
        seen.crop(1, second, quality)
    kept.writer.flush()
    assert stored(path) == [("a", 1, 1, 0.5), ("a", 1, 5, 0.4), ("a", 1, 9, 0.9)]
    reader = Reader(path)
    found = reader.pictures(5)
    assert [each["ns"] // S for each in found] == [9, 1, 5]
    assert found == reader.pictures()
    image = cv2.imdecode(
        np.frombuffer(reader.picture(found[0]["name"])["jpeg"], np.uint8), cv2.IMREAD_COLOR
    )
    assert image.shape == (60, 20, 3)
    assert reader.pictures(5, cameras=["b"]) == []
    assert reader.picture(found[0]["name"], cameras=["b"]) is None
    reader.close()
    kept.close()


def test_large_crops_are_made_smaller(tmp_path):
    kept = gallery(tmp_path / "g.db")
    seen = Seen(kept, {TrackletKey("a", 1): 5})
    seen.crop(1, 1, 0.5, size=(400, 200))
    kept.writer.flush()
    reader = Reader(tmp_path / "g.db")
    assert [(p["width"], p["height"]) for p in reader.pictures()] == [(128, 256)]
    reader.close()
    kept.close()


def test_pictures_wait_until_it_is_known_whose_they_are(tmp_path):
    path = tmp_path / "g.db"
    kept = gallery(path)
    seen = Seen(kept, {})
    seen.crop(1, 1, 0.5)
    seen.crop(2, 1, 0.5)
    seen.crop(3, 1, 0.5)
    kept.writer.flush()
    assert stored(path) == []
    one = tracklet("a", 1, 0, 2)
    seen.pass_time(2, ended=[one], nobody={TrackletKey("a", 2): "furniture"})
    for track in (1, 2):  # the second one comes too late: it was nobody
        seen.owners[TrackletKey("a", track)] = track
        kept.put(tracklet("a", track, 0, 2), track)
    seen.pass_time(3)
    seen.ignored.add(TrackletKey("a", 3))
    seen.pass_time(4)
    seen.owners[TrackletKey("a", 3)] = 3
    kept.put(tracklet("a", 3, 0, 2), 3)
    seen.pass_time(5)
    kept.writer.flush()
    assert stored(path) == [("a", 1, 1, 0.5)]
    kept.close()


def test_who_is_never_known_takes_no_memory(tmp_path):
    kept = gallery(tmp_path / "g.db")
    seen = Seen(kept, {})
    for track in range(1, 400):
        seen.crop(track, 1, 0.5)
    assert seen.pictures.dropped == 399 - 256
    seen.pass_time(100)
    assert (seen.pictures._tracks, seen.pictures._undecided, seen.pictures._waiting) == ({}, {}, 0)
    kept.close()


def test_pictures_follow_their_person(tmp_path):
    path = tmp_path / "g.db"
    kept = gallery(path)
    seen = Seen(kept, {TrackletKey("a", 1): 5, TrackletKey("a", 2): 6})
    seen.crop(1, 1, 0.5)
    seen.crop(2, 1, 0.6)
    kept.tell(event(EventKind.MERGED, 5, other=6))
    kept.writer.flush()
    reader = Reader(path)
    assert [each["track"] for each in reader.pictures(5)] == [2, 1]
    reader.close()
    kept.close()


def test_pictures_go_with_the_looks(tmp_path):
    path = tmp_path / "g.db"
    for number, forget in enumerate((
        lambda kept: kept.erase(5, who="x"),
        lambda kept: kept.tell(event(EventKind.ENDED, 5)),
        lambda kept: kept.drop("a", 1),
        lambda kept: kept.forget_before(100 * S),
    )):  # fmt: skip
        kept = gallery(path.with_name(f"{number}.db"))
        seen = Seen(kept, {TrackletKey("a", 1): 5, TrackletKey("b", 1): 6})
        seen.crop(1, 1, 0.5)
        seen.crop(1, 200, 0.6, camera="b")
        kept.put(tracklet("a", 1, 0, 3), 5)  # brought up to date: its picture stays
        kept.writer.flush()
        assert len(stored(path.with_name(f"{number}.db"))) == 2
        forget(kept)
        kept.writer.flush()
        assert stored(path.with_name(f"{number}.db")) == [("b", 1, 200, 0.6)], number
        kept.close()


def test_nothing_of_an_erased_picture_is_left_in_the_file(tmp_path):
    path = tmp_path / "g.db"
    kept = gallery(path)
    seen = Seen(kept, {TrackletKey("a", 1): 5})
    seen.crop(1, 1, 0.5, value=77)
    kept.writer.flush()
    with sqlite3.connect(path) as connection:
        (jpeg,) = connection.execute("SELECT jpeg FROM pictures").fetchone()
    kept.erase(5, who="x")
    # One that comes late finds no tracklet, and is not kept.
    seen.owners.clear()
    late = Late(lambda: {"camera": "a", "track": 1, "time_ns": 1, "quality": 1.0, "width": 1,
                         "height": 1, "jpeg": b"late"})  # fmt: skip
    from crosscam_edge.gallery.pictures import PUT_PICTURE

    assert kept.writer.put_late(PUT_PICTURE, late)
    kept.close()
    left = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert jpeg[20:60] not in left
    assert stored(path) == []


def test_there_are_so_many_of_a_person_and_of_all(tmp_path):
    path = tmp_path / "g.db"
    kept = gallery(path)
    seen = Seen(kept, {TrackletKey("a", track): 5 for track in range(1, 21)})
    for track in range(1, 21):
        for second in (1, 3):
            seen.crop(track, second, 0.9 if second == 1 else 0.5 + track / 100)
    kept.writer.flush()
    assert len(stored(path)) == 40
    kept.bound_pictures()
    kept.writer.flush()
    left = stored(path)
    assert len(left) == 24
    assert {track for _, track, second, _ in left if second == 1} == set(range(1, 21))
    assert {track for _, track, second, _ in left if second == 3} == {17, 18, 19, 20}
    kept.close()
    with sqlite3.connect(path) as connection:
        (most,) = connection.execute("SELECT sum(bytes) FROM pictures").fetchone()
    small = Gallery(
        path, model_id="m", dim=DIM, now_ns=lambda: 1000 * S, keep_s=1e9, picture_bytes=most // 2
    )
    small.writer.flush()
    assert stored(path) == left[-12:]  # the newest
    small.close()


def test_what_is_large_waits_in_bounds_and_is_made_once(tmp_path):
    calls, connection = [], sqlite3.connect(tmp_path / "w.db", check_same_thread=False)
    connection.execute("CREATE TABLE t (v BLOB)")
    connection.execute("PRAGMA busy_timeout = 0")
    connection.isolation_level = None
    other = sqlite3.connect(tmp_path / "w.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nothing can be written for now
    writer = Writer(connection, every_s=0.01)

    def make():
        calls.append(1)
        return (b"x",)

    taken = [writer.put_late("INSERT INTO t VALUES (?)", Late(make)) for _ in range(300)]
    assert sum(taken) == 256
    while not writer.failures:
        pass
    other.execute("ROLLBACK")
    assert writer.flush()
    assert len(calls) == 256
    assert writer.put_late("INSERT INTO t VALUES (?)", Late(make))
    writer.close()
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (257,)
    connection.close()
    other.close()


def test_an_older_gallery_gets_pictures(tmp_path):
    path = tmp_path / "g.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    kept = gallery(path)
    seen = Seen(kept, {TrackletKey("a", 1): 5})
    seen.crop(1, 1, 0.5)
    kept.writer.flush()
    assert len(stored(path)) == 1
    kept.close()
