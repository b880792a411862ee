"""From the gallery of a live run to a data set that the trainer reads."""

from __future__ import annotations

import json
import sqlite3
import time

import cv2
import numpy as np
import pytest

from crosscam_edge.cli import main
from crosscam_edge.gallery import Gallery
from crosscam_edge.gallery.pictures import PUT_PICTURE
from crosscam_edge.gallery.reader import Reader
from crosscam_edge.gallery.schema import APPLICATION_ID, MIGRATIONS
from crosscam_edge.harvest import HarvestOptions, harvest
from crosscam_edge.harvest.gallery import choose_kept, take_kept
from crosscam_edge.types import Tracklet
from crosscam_kernels.errors import InputError
from crosscam_trainer.data.registry import load

DAY, SECOND = 86_400 * 10**9, 10**9
NOW = time.time_ns()


def put(gallery, camera, track, person, *, ago_s=3600, qualities=(0.9, 0.8, 0.7), height=120):
    """A tracklet with a picture every two seconds."""
    start = NOW - ago_s * SECOND
    times = start + 2 * SECOND * np.arange(len(qualities), dtype=np.int64)
    rows = np.zeros((len(qualities), 4), np.float32)
    rows[:, 0] = 1
    box = np.zeros(4, np.float32)
    gallery.put(
        Tracklet(
            camera, track, int(times[0]), int(times[-1]), 0, 50, 50, box, box, (640, 480), rows,
            times, np.array(qualities, np.float32),
        ),
        person,
    )  # fmt: skip
    for at, quality in zip(times.tolist(), qualities, strict=True):
        done, jpeg = cv2.imencode(".jpg", np.full((height, 50, 3), 20 * person, np.uint8))
        assert done
        values = {
            "camera": camera, "track": track, "time_ns": at, "quality": quality, "width": 50,
            "height": height, "jpeg": jpeg.tobytes(),
        }  # fmt: skip
        gallery.writer.put(PUT_PICTURE, values)


def opened(path, *, days=1000.0, harvest=True, ago_days=100):
    """A gallery as a run opens it that began some days ago."""
    return Gallery(
        path, model_id="m", dim=4, now_ns=lambda: NOW - ago_days * DAY, keep_s=days * 86_400.0,
        harvest=harvest,
    )  # fmt: skip


@pytest.fixture
def live(tmp_path):
    """A run with two people in two cameras, and some who are not worth it."""
    run = tmp_path / "live"
    run.mkdir()
    gallery = opened(run / "gallery.db")
    for person in (1, 2):
        for c, camera in enumerate(("hall", "yard")):
            for k in range(2):
                put(gallery, camera, 10 * person + k, person, ago_s=3600 - 100 * c - 30 * k)
    put(gallery, "hall", 30, 3)  # one tracklet only: three pictures
    put(gallery, "hall", 40, 1, qualities=(0.1, 0.9))
    put(gallery, "hall", 41, 1, height=30)
    for k in range(2):
        put(gallery, "hall", 50 + k, 5, ago_s=10 * 86_400 + 100 * k)
    assert gallery.writer.flush()
    yield run, gallery
    gallery.close()


def table(folder):
    return [json.loads(line) for line in (folder / "crops.jsonl").read_text().splitlines()]


def test_the_pictures_of_a_gallery_become_a_data_set(live, tmp_path):
    run, _ = live
    told = []
    found = harvest(run, tmp_path / "set", progress=lambda a, b: told.append((a, b)), keep_days=7)
    assert found.people == {"hall": 2, "yard": 2}
    assert found.crops == {"hall": 13, "yard": 12}
    assert dict(found.left_out) == {
        "pictures that are too old": 6,
        "crops of low quality": 1,
        "crops too small": 3,
        "people with too few crops": 1,
    }
    assert told[-1] == (25, 25)
    rows = table(found.out)
    assert {row["person"] for row in rows} == {"1", "2"}
    for row in rows:
        picture = cv2.imread(str(found.out / row["file"]))
        assert abs(int(picture.mean()) - 20 * int(row["person"])) <= 2
    data = load(found.out)
    assert len(data.train) == 25
    assert len({(each.camera, each.person) for each in data.train}) == 4


def test_tracks_can_be_the_labels(live, tmp_path):
    run, _ = live
    found = harvest(
        run, tmp_path / "set", HarvestOptions(labels="tracks", least=2, per_track=2), keep_days=7
    )
    assert found.people == {"hall": 5, "yard": 4}
    assert found.crops == {"hall": 10, "yard": 8}
    assert {row["person"] for row in table(found.out)} == {"10", "11", "20", "21", "30"}


def test_nobody_beyond_retention(live, tmp_path):
    run, _ = live
    found = harvest(run, tmp_path / "all", keep_days=30)
    assert "5" in {row["person"] for row in table(found.out)}
    with pytest.raises(InputError, match="pictures that are too old"):
        harvest(run, tmp_path / "none", keep_days=0)


def test_what_a_run_would_have_deleted_is_not_taken_when_it_has_not_come_to_it(live, tmp_path):
    run, gallery = live
    gallery.close()
    opened(run / "gallery.db", days=20, ago_days=15).close()  # then it kept all of them
    found = harvest(run, tmp_path / "all", keep_days=30)
    assert "5" in {row["person"] for row in table(found.out)}
    opened(run / "gallery.db", days=5, ago_days=8).close()  # two days old then, ten now
    found = harvest(run, tmp_path / "less", keep_days=30)
    assert "5" not in {row["person"] for row in table(found.out)}
    assert found.left_out["pictures that are too old"] == 6


def test_only_where_the_site_allows_it_and_only_from_then_on(live, tmp_path):
    run, gallery = live
    gallery.close()
    opened(run / "gallery.db", harvest=False).close()
    with pytest.raises(InputError, match=r"live: \{harvest: true\}"):
        harvest(run, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    opened(run / "gallery.db", ago_days=2).close()  # allowed again, since then
    opened(run / "gallery.db", ago_days=0).close()  # and still
    found = harvest(run, tmp_path / "set")
    assert found.left_out["pictures from before it was allowed"] == 6
    assert sum(found.crops.values()) == 25


def test_who_is_erased_is_not_there_even_when_that_is_meanwhile(live, tmp_path):
    run, gallery = live
    gallery.erase(1, who="test")
    reader = Reader(run / "gallery.db")
    kept = choose_kept(reader, HarvestOptions(), NOW, keep_days=1)
    assert {each["person"] for each in kept.pictures} == {2}

    def told(done, total):
        if done == 3:
            gallery.erase(2, who="test")

    rows = take_kept(reader, tmp_path / "set", kept, told, lambda: False)
    assert rows == []
    assert not list((tmp_path / "set").rglob("*.jpg"))
    assert kept.left_out["pictures deleted meanwhile"] == 12
    reader.close()


def test_a_gallery_without_pictures_and_one_that_is_none_are_refused(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    connection = sqlite3.connect(old / "gallery.db")
    connection.executescript(
        f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
    )
    connection.close()
    with pytest.raises(InputError, match="does not allow"):
        harvest(old, tmp_path / "set")
    (old / "gallery.db").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="holds no pictures that can be read"):
        harvest(old, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_by_command(live, tmp_path, capsys):
    run, _ = live
    with pytest.raises(SystemExit) as left:
        main(["harvest", str(run), "-o", str(tmp_path / "set"), "--json", "--keep-days", "7"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)["crops"] == {"hall": 13, "yard": 12}
