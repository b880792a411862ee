"""Annotated videos: they play, hold every frame, keep time, and never half-exist."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fake_run import START_NS, finish_run, painted, painted_run, walkers, write_video

from crosscam_edge.report import render_videos
from crosscam_edge.report.colours import identity_rgb, readable_on
from crosscam_edge.report.draw import Overlay
from crosscam_edge.report.rows import FrameRows, RowCursor, frames_of
from crosscam_edge.sinks.mot import MotSequence, read_mot
from crosscam_edge.sinks.schema import CameraInfo
from crosscam_kernels.errors import InputError


def stream_of(path: Path) -> tuple[str, tuple[int, int], list[float]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [float(f.pts * f.time_base) for f in container.decode(stream)]
        return stream.codec_context.name, (stream.width, stream.height), times


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[CameraInfo], list[Path]]:
    out = tmp_path_factory.mktemp("videos") / "run"
    cameras = painted_run(out)
    seen: list[tuple[int, int]] = []
    written = render_videos(out, cameras, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (1, 80)
    assert seen[-1] == (80, 80)
    return out, cameras, written


def test_videos_hold_every_frame_in_time(run) -> None:
    _, cameras, written = run
    assert [p.name for p in written] == ["Entrance.mp4", "Hall.mp4", "mosaic.mp4"]
    for path in written[:2]:
        codec, size, times = stream_of(path)
        assert (codec, size, len(times)) == ("h264", (320, 240), 40)
        np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-3)
    _, size, times = stream_of(written[2])
    assert size == (644, 240)
    # The second camera starts 0.7 s later: 4.7 s in all, at 10 frames/s.
    assert len(times) == 47
    assert not list(written[0].parent.glob(".*"))
    assert cameras[0].frames == 40


def test_boxes_are_where_the_tracks_are(run) -> None:
    out, _, written = run
    rows = next(
        r for r in frames_of(out / "tracks.parquet", "Entrance") if not r.interpolated.any()
    )
    with av.open(str(written[0])) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    image = frames[rows.frame].astype(int)
    for gid, box in zip(rows.global_id.tolist(), rows.xyxy, strict=True):
        x1, _, _, y2 = np.rint(box).astype(int)
        edge = image[y2 - 30 : y2 - 5, max(0, x1 - 1) : x1 + 2]
        distance = np.abs(edge - np.array(identity_rgb(gid))).sum(axis=2).min(axis=1)
        assert np.median(distance) < 150, gid


def test_crops_show_the_person(run) -> None:
    out, _, _ = run
    crops = list((out / "crops").rglob("*.jpg"))
    assert crops
    by_camera: dict[tuple[str, str], int] = {}
    for crop in crops:
        key = (crop.parent.name, crop.name.split("_")[0])
        by_camera[key] = by_camera.get(key, 0) + 1
        image = cv2.imread(str(crop))
        assert image is not None
        assert image.shape[0] > image.shape[1]
    assert max(by_camera.values()) <= 6
    people = {int(gid) for gid, _ in by_camera}
    tracks = read_mot(out / "mot" / "Hall.txt")
    assert set(np.unique(tracks.object_id)) <= people


def test_crops_are_spread_and_renewed(run, tmp_path: Path) -> None:
    out, _, _ = run
    per_person = [sorted(p.glob("Hall_*.jpg")) for p in (out / "crops").iterdir()]
    long = next(files for files in per_person if len(files) >= 4)
    frames = [int(f.stem.split("_")[1]) for f in long]
    assert frames[-1] - frames[0] >= 8


def test_an_interrupted_rendering_leaves_older_videos(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=2, frames=12)
    written = render_videos(out, cameras)
    before = [p.read_bytes() for p in written]

    def stop(done: int, _total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_videos(out, cameras, progress=stop)
    assert [p.read_bytes() for p in written] == before
    assert len(list((out / "video").iterdir())) == 3


def test_a_long_quiet_time_is_cut_out_of_the_mosaic(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=2, frames=12)
    tomorrow = START_NS + 86_400 * 10**9
    late = [cameras[0], replace(cameras[1], start_time_ns=tomorrow)]
    written = render_videos(out, late)
    assert 24 <= len(stream_of(written[-1])[2]) <= 50


def test_single_camera_odd_size_and_odd_name(tmp_path: Path) -> None:
    tracks = walkers(2, 10, 1)
    source = tmp_path / "s.avi"
    images = (np.ascontiguousarray(i[:239, :319]) for i in painted(tracks, 10))
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 319, 239, "yuvj444p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    camera = CameraInfo("../gate <b>", 1, str(source), 319, 239, 10.0, 10, START_NS)
    finish_run(tmp_path / "run", [camera], {camera.camera_id: tracks})
    written = render_videos(tmp_path / "run", [camera])
    assert [p.parent for p in written] == [tmp_path / "run" / "video"]
    codec, size, times = stream_of(written[0])
    assert (codec, size, len(times)) == ("h264", (320, 240), 10)


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=2, frames=4)
    Path(cameras[1].video).unlink()
    with pytest.raises(InputError, match=r"source_2\.mp4"):
        render_videos(out, cameras)
    assert not (out / "video").exists() or not list((out / "video").iterdir())


def test_rows_come_back_whole_over_row_groups(tmp_path: Path, monkeypatch) -> None:
    from crosscam_edge.sinks import files

    monkeypatch.setattr(files, "_ROW_GROUP", 3)
    tracks = walkers(4, 30, 3)
    source = tmp_path / "v.mp4"
    write_video(source, painted(tracks, 30))
    names = ("b", "a", "c")
    cameras = [CameraInfo(n, i, str(source), 320, 240, 10.0, 30, 0) for i, n in enumerate(names, 1)]
    finish_run(tmp_path / "run", cameras, dict.fromkeys(names, tracks))
    for name in names:
        found = list(frames_of(tmp_path / "run" / "tracks.parquet", name))
        assert [r.frame for r in found] == np.unique(tracks.frame).tolist()
        assert sum(len(r.global_id) for r in found) == len(tracks)


def test_held_rows_bridge_frames_that_were_not_processed(tmp_path: Path) -> None:
    s = walkers(1, 30, 3)
    s = s[s.frame % 3 == 0]
    source = tmp_path / "v.mp4"
    write_video(source, painted(s, 30))
    camera = CameraInfo("a", 1, str(source), 320, 240, 30.0, 30, 0, process_fps=10.0)
    finish_run(tmp_path / "run", [camera], {"a": s})
    cursor = RowCursor(tmp_path / "run" / "tracks.parquet", "a", hold=2)
    first, last = int(s.frame[0]), int(s.frame[-1])
    counts = [len(cursor.at(f).global_id) for f in range(last + 6)]
    assert counts[first : last + 3] == [1] * (last + 3 - first)
    assert counts[last + 3 :] == [0, 0, 0]


def test_overlay_survives_boxes_outside_and_any_text() -> None:
    overlay = Overlay((160, 120))
    boxes = np.array([[-50, -50, 20, 300], [150, 110, 400, 400], [10, 10, 10, 10]], np.float32)
    rows = FrameRows(0, np.array([1, 10**12, 3]), boxes, np.array([False, True, True]))
    image = np.zeros((120, 160, 3), np.uint8)
    overlay.draw(image, rows, 0.0, (1.0, 1.0))
    overlay.header(image, "入口 <script> " * 20, "2026")
    assert image.any()


def test_colours_are_distinct_and_labels_readable() -> None:
    colours = [identity_rgb(i) for i in range(1, 41)]
    assert len(set(colours)) == 40
    near = [np.abs(np.subtract(a, b)).sum() for a, b in pairwise(colours)]
    assert min(near) > 90
    assert readable_on((255, 255, 0)) == (16, 16, 16)
    assert readable_on((20, 20, 120)) == (255, 255, 255)


def test_empty_run_has_videos_without_boxes(tmp_path: Path) -> None:
    source = tmp_path / "v.mp4"
    write_video(source, painted(MotSequence.empty(), 5))
    camera = CameraInfo("a", 1, str(source), 320, 240, 10.0, 5, START_NS)
    from crosscam_edge.sinks.files import write_outputs

    write_outputs(tmp_path / "run", [], [camera])
    assert len(stream_of(render_videos(tmp_path / "run", [camera])[0])[2]) == 5
