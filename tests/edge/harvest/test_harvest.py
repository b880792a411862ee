"""From a whole run on a simulated site to a data set that the trainer reads."""

from __future__ import annotations

import json
import shutil
import threading

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosscam_edge.cli import main
from crosscam_edge.config import load_config
from crosscam_edge.harvest import HarvestOptions, choose, harvest
from crosscam_edge.offline import ProcessOptions, process
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_edge.sinks.run_file import read_run
from crosscam_edge.sinks.schema import EMBEDDINGS_SCHEMA, TRACKS_SCHEMA
from crosscam_kernels.errors import InputError, UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    simulate(
        SiteConfig(people=4, cameras=2, seconds=12.0, width=480, height=360, seed=3),
        folder / "site",
    )
    settings = load_config(folder / "site" / "site.yaml")
    quiet = settings.outputs.model_copy(update={"video": False, "report": False, "crops": False})
    changes = {"outputs": quiet, "detector": "motion", "embedder": "colour"}
    out = folder / "run"
    process([], out, settings.model_copy(update=changes), options=ProcessOptions())
    return out


def table(folder):
    return [json.loads(line) for line in (folder / "crops.jsonl").read_text().splitlines()]


def test_a_run_becomes_a_data_set(run, tmp_path):
    told = []
    found = harvest(run, tmp_path / "set", progress=lambda a, b: told.append((a, b)))
    rows = table(found.out)
    assert len(rows) == sum(found.crops.values()) > 10
    assert told[-1] == (len(rows), len(rows))
    info = json.loads((found.out / "dataset.json").read_text())
    assert (info["labels"], info["name"]) == ("intra-camera", "set")
    people = {(row["camera"], row["person"]) for row in rows}
    assert len(people) == sum(found.people.values())
    for row in rows:
        picture = cv2.imread(str(found.out / row["file"]))
        assert picture is not None
        assert picture.shape[0] >= 48
        assert 0 < row["quality"] <= 1
    for who in people:
        of = [row for row in rows if (row["camera"], row["person"]) == who]
        assert len(of) >= 4
        for track in {row["tracklet"] for row in of}:
            times = sorted(row["time_ns"] for row in of if row["tracklet"] == track)
            assert len(times) <= 12
            assert (np.diff(times) >= 0.4e9).all()
    assert not list(tmp_path.glob(".*"))


def test_the_trainer_reads_it(run, tmp_path):
    pytest.importorskip("torch")
    from crosscam_trainer.data import load

    found = harvest(run, tmp_path / "set")
    data = load(found.out)
    assert len(data.train) == sum(found.crops.values())


def test_crops_are_where_the_people_are(run, tmp_path):
    """Each picture is the very part of the frame that the run has tracked."""
    found = harvest(run, tmp_path / "set")
    camera = next(iter(found.crops))
    rows = [row for row in table(found.out) if row["camera"] == camera]
    boxes = {
        (r["track_id"], r["frame"]): (r["x1"], r["y1"], r["x2"], r["y2"])
        for r in pq.read_table(run / "tracks.parquet").to_pylist()
        if r["camera_id"] == camera
    }
    info = next(c for c in read_run(run).camera_infos() if c.camera_id == camera)
    for row in rows:
        x1, y1, x2, y2 = boxes[int(row["tracklet"]), row["frame"]]
        width = min(info.width, np.ceil(x2)) - max(0, np.floor(x1))
        height = min(info.height, np.ceil(y2)) - max(0, np.floor(y1))
        picture = cv2.imread(str(found.out / row["file"]))
        scale = min(1.0, 384 / height)
        assert abs(picture.shape[0] - height * scale) <= 1
        assert abs(picture.shape[1] - width * scale) <= 1


def test_who_is_a_person(run):
    cameras = read_run(run).camera_infos()
    by_id = choose(run, cameras, HarvestOptions(least=1))
    by_track = choose(run, cameras, HarvestOptions(least=1, labels="tracks"))
    for camera in by_id.crops:
        ids = {(c.track, c.frame): c.person for c in by_id.crops[camera]}
        tracks = {(c.track, c.frame): c.person for c in by_track.crops[camera]}
        assert ids.keys() == tracks.keys()
        assert all(person == track for (track, _), person in tracks.items())


def made(folder, rows):
    """A run of one camera with these rows: track, global id, frame, quality, box height."""
    folder.mkdir()
    tracks, crops = [], []
    for track, person, frame, quality, height in rows:
        base = {"camera_id": "a", "frame": frame, "time_ns": frame * 10**8, "track_id": track}
        tracks.append(
            base | {"global_id": person, "x1": 0.0, "y1": 0.0, "x2": 20.0, "y2": float(height)}
            | {"confidence": 0.9, "interpolated": False}
        )  # fmt: skip
        crops.append(
            base | {"global_id": person, "quality": quality, "model_id": "m", "embedding": [1.0]}
        )
    pq.write_table(pa.Table.from_pylist(tracks, TRACKS_SCHEMA), folder / "tracks.parquet")
    pq.write_table(pa.Table.from_pylist(crops, EMBEDDINGS_SCHEMA), folder / "embeddings.parquet")


def test_what_is_left_out_is_counted(tmp_path, run):
    rows = [(1, 7, 10 * k, 0.9, 100) for k in range(6)]  # good
    rows += [(2, 7, 100 + 10 * k, 0.8, 100) for k in range(3)]  # the same person, another track
    rows += [(3, 8, 200 + k, 0.9, 100) for k in range(5)]  # one tenth of a second apart
    rows += [(4, 9, 300 + 10 * k, 0.05, 100) for k in range(5)]  # bad
    rows += [(5, 10, 400 + 10 * k, 0.9, 30) for k in range(5)]  # small
    made(tmp_path / "run", rows)
    camera = read_run(run).camera_infos()[0]
    from dataclasses import replace

    found = choose(tmp_path / "run", [replace(camera, camera_id="a")], HarvestOptions())
    assert {c.person for c in found.crops["a"]} == {7}
    assert len(found.crops["a"]) == 9
    assert found.left_out["crops of low quality"] == 5
    assert found.left_out["crops too small"] == 5
    assert found.left_out["crops too soon after another"] == 3
    assert found.left_out["people with too few crops"] == 1
    apart = choose(
        tmp_path / "run", [replace(camera, camera_id="a")], HarvestOptions(labels="tracks")
    )
    assert {c.person for c in apart.crops["a"]} == {1}
    few = choose(
        tmp_path / "run", [replace(camera, camera_id="a")], HarvestOptions(per_track=2, least=1)
    )
    assert sum(c.track == 1 for c in few.crops["a"]) == 2
    assert few.left_out["crops too many of a track"] > 3


def test_folders_that_cannot_be_harvested(run, tmp_path):
    with pytest.raises(InputError, match="no run in") as none:
        harvest(tmp_path, tmp_path / "set")
    assert "`crosscam run`" in str(none.value.expected)
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="there already"):
        harvest(run, tmp_path / "taken")
    with pytest.raises(InputError, match="nobody"):
        harvest(run, tmp_path / "set", HarvestOptions(height=5000))
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    (copy / "embeddings.parquet").unlink()
    with pytest.raises(InputError, match="embeddings"):
        harvest(copy, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_recording_that_is_gone_leaves_nothing_behind(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    text = (copy / "run.json").read_text()
    video = read_run(copy).camera_infos()[0].video
    (copy / "run.json").write_text(text.replace(video, str(tmp_path / "gone.mp4")))
    with pytest.raises(InputError, match=r"gone\.mp4"):
        harvest(copy, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_it_can_be_stopped(run, tmp_path):
    stop = threading.Event()
    found = harvest(run, tmp_path / "set", progress=lambda a, b: stop.set(), stop=stop.is_set)
    assert found.stopped
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("wrong", [{"per_track": 0}, {"quality": 2.0}, {"apart_s": -1.0}])
def test_options_that_make_no_sense(wrong):
    with pytest.raises(UsageError):
        HarvestOptions(**wrong)


def test_the_command(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["harvest", str(run), "-o", str(tmp_path / "set"), "--json"])
    assert left.value.code == 0
    summary = json.loads(capsys.readouterr().out)
    assert sum(summary["crops"].values()) == len(table(tmp_path / "set"))
    with pytest.raises(SystemExit) as left:
        main(["harvest", str(run), "-o", str(tmp_path / "set")])
    assert left.value.code == 2
