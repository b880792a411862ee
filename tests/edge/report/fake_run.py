"""A finished run folder without the pipeline: real footage cut in two, or painted scenes.

The tracks are the ground truth with a few boxes marked as interpolated, so the page and the videos
show what a good run looks like.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa

from crosscam_edge.associate.types import Assignment, Calibration, Reason
from crosscam_edge.sinks.files import write_outputs, write_parquet
from crosscam_edge.sinks.mot import MotSequence, read_mot
from crosscam_edge.sinks.run_file import (
    CalibrationRecord,
    CameraRecord,
    Figures,
    InputFile,
    ModelRecord,
    RunFile,
    RunStatus,
    identities_of,
    transits_of,
    write_identities,
    write_run,
)
from crosscam_edge.sinks.schema import EMBEDDINGS_SCHEMA, TRACKS_SCHEMA, CameraInfo
from crosscam_edge.types import Tracklet, TrackletKey

START = datetime(2026, 3, 14, 12, 0, 0, tzinfo=UTC)
START_NS = int(START.timestamp()) * 1_000_000_000


def write_video(path: Path, images, rate: int = 10) -> int:
    """Encode pictures; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with av.open(str(path), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(rate))
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"preset": "ultrafast", "crf": "18"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            count += 1
        container.mux(stream.encode(None))
    return count


def painted(tracks: MotSequence, frames: int, size=(320, 240)):
    """Pictures of coloured figures on a grey floor."""
    rng = np.random.default_rng(0)
    floor = cv2.GaussianBlur(rng.integers(90, 160, (size[1], size[0], 3), np.uint8), (0, 0), 3)
    for f in range(frames):
        image = floor.copy()
        for i in np.flatnonzero(tracks.frame == f):
            x1, y1, x2, y2 = tracks.xyxy[i].astype(int).tolist()
            body = np.random.default_rng(int(tracks.object_id[i])).integers(40, 230, 3).tolist()
            cv2.ellipse(image, ((x1 + x2) // 2, y1 + 8), (7, 9), 0, 0, 360, (150, 180, 220), -1)
            cv2.rectangle(image, (x1 + 3, y1 + 16), (x2 - 3, y2), body, -1)
        yield image


def walkers(people: int, frames: int, seed: int, size=(320, 240)) -> MotSequence:
    """People who cross the picture one after the other."""
    rng = np.random.default_rng(seed)
    frame, ids, boxes = [], [], []
    for person in range(1, people + 1):
        begin = int(rng.integers(0, max(1, frames // 2)))
        t = np.arange(begin, min(frames, begin + frames // 2))
        y = float(rng.integers(60, size[1] - 90))
        x = (
            np.linspace(0, size[0] - 30, len(t))
            if person % 2
            else np.linspace(size[0] - 30, 0, len(t))
        )
        frame.append(t)
        ids.append(np.full(len(t), person))
        boxes.append(np.stack([x, np.full(len(t), y), x + 28, np.full(len(t), y + 80)], 1))
    return MotSequence.of(
        np.concatenate(frame), np.concatenate(ids), np.concatenate(boxes)
    ).sorted()


def painted_run(
    out: Path, *, people: int = 5, frames: int = 40, names=("Entrance", "Hall")
) -> list:
    """A run over painted scenes; needs no asset."""
    cameras, tracks = [], {}
    for number, name in enumerate(names, 1):
        tracks[name] = walkers(people, frames, seed=number)
        path = out.parent / f"source_{number}.mp4"
        write_video(path, painted(tracks[name], frames))
        start = START_NS + (number - 1) * 700_000_000
        cameras.append(CameraInfo(name, number, str(path), 320, 240, 10.0, frames, start))
    finish_run(out, cameras, tracks)
    return cameras


def vtest_run(out: Path, assets: Path, *, frames: int = 795) -> list:
    """A run over the left and right part of `vtest.avi`, with its real ground truth."""
    truth = read_mot(assets / "groundtruth" / "vtest_mot15.txt", ground_truth=True)
    truth = truth[(truth.confidence != 0) & (truth.frame < frames)]
    cameras, tracks = [], {}
    for number, (name, x1, x2) in enumerate((("Plaza west", 0, 368), ("Plaza east", 400, 768)), 1):

        def part(x1=x1, x2=x2):
            with av.open(str(assets / "videos" / "vtest.avi")) as container:
                for i, frame in enumerate(container.decode(video=0)):
                    if i >= frames:
                        return
                    yield np.ascontiguousarray(frame.to_ndarray(format="bgr24")[:, x1:x2])

        path = out.parent / f"vtest_{number}.mp4"
        if not path.exists():
            write_video(path, part())
        centre = truth.xyxy[:, [0, 2]].mean(axis=1)
        s = truth[(centre >= x1) & (centre < x2)]
        tracks[name] = MotSequence.of(s.frame, s.object_id, s.xyxy - [x1, 0, x1, 0])
        cameras.append(CameraInfo(name, number, str(path), x2 - x1, 576, 10.0, frames, START_NS))
    finish_run(out, cameras, tracks)
    return cameras


def track_batch(camera: CameraInfo, s: MotSequence, seed: int = 0) -> pa.RecordBatch:
    """Rows of `tracks.parquet`."""
    rng = np.random.default_rng(seed)
    gap = rng.random(len(s)) < 0.05
    columns = {
        "camera_id": [camera.camera_id] * len(s),
        "frame": s.frame,
        "time_ns": [camera.time_of(int(f)) for f in s.frame],
        "track_id": s.track_id,
        "global_id": s.object_id,
        **{n: s.xyxy[:, i].astype(np.float32) for i, n in enumerate(("x1", "y1", "x2", "y2"))},
        "confidence": np.where(gap, 0, rng.uniform(0.5, 0.95, len(s))).astype(np.float32),
        "interpolated": gap,
    }
    return pa.RecordBatch.from_pydict(columns, schema=TRACKS_SCHEMA)


def _tracklets(camera: CameraInfo, s: MotSequence) -> list[tuple[int, Tracklet]]:
    found = []
    for person in np.unique(s.object_id):
        rows = s[s.object_id == person]
        breaks = np.flatnonzero(np.diff(rows.frame) > 20) + 1
        for k, part in enumerate(np.split(np.arange(len(rows)), breaks)):
            r = rows[part]
            first, last = int(r.frame[0]), int(r.frame[-1])
            none = np.zeros((0, 4), np.float32)
            tracklet = Tracklet(
                camera.camera_id,
                int(person) * 10 + k,
                camera.time_of(first),
                camera.time_of(last),
                first,
                last,
                len(r),
                r.xyxy[0].astype(np.float32),
                r.xyxy[-1].astype(np.float32),
                (camera.width, camera.height),
                none,
                np.zeros(0, np.int64),
                np.zeros(0, np.float32),
            )
            found.append((int(person), tracklet))
    return found


def finish_run(out: Path, cameras: list[CameraInfo], tracks: dict[str, MotSequence]) -> None:
    """Write everything that comes before the videos and the page."""
    out.mkdir(parents=True, exist_ok=True)
    batches = [track_batch(camera, tracks[camera.camera_id]) for camera in cameras]
    write_outputs(out, batches, cameras)
    rng = np.random.default_rng(5)
    rows = []
    for camera in cameras:
        s = tracks[camera.camera_id]
        s = s[s.frame % 5 == 0]
        for i in range(len(s)):
            vector = rng.normal(size=8)
            rows.append(
                {
                    "camera_id": camera.camera_id,
                    "track_id": int(s.track_id[i]),
                    "global_id": int(s.object_id[i]),
                    "frame": int(s.frame[i]),
                    "time_ns": camera.time_of(int(s.frame[i])),
                    "quality": float(rng.random()),
                    "model_id": "b7c1",
                    "embedding": (vector / np.linalg.norm(vector)).tolist(),
                }
            )
    batch = pa.RecordBatch.from_pylist(rows, schema=EMBEDDINGS_SCHEMA)
    write_parquet(out / "embeddings.parquet", [batch], EMBEDDINGS_SCHEMA)

    pairs = [p for camera in cameras for p in _tracklets(camera, tracks[camera.camera_id])]
    pairs.sort(key=lambda p: p[1].start_ns)
    first: dict[int, TrackletKey] = {}
    last: dict[int, Tracklet] = {}
    assignments, transits = [], {}
    for person, tracklet in pairs:
        known = person in first
        score = float(rng.uniform(0.62, 0.93)) if known else float("nan")
        runner_up = float(rng.uniform(0.2, 0.55)) if known else float("nan")
        assignments.append(
            Assignment(
                tracklet.key,
                person,
                Reason.MATCHED if known else Reason.CREATED,
                score,
                runner_up,
                1 + person % 7 if known else 0,
                first.get(person),
            )
        )
        before = last.get(person)
        if before is not None and before.camera_id != tracklet.camera_id:
            seconds = (tracklet.start_ns - before.end_ns) / 1e9
            transits.setdefault((before.camera_id, tracklet.camera_id), []).append(seconds)
        first.setdefault(person, tracklet.key)
        last[person] = tracklet
    write_identities(out, identities_of(assignments, {t.key: t for _, t in pairs}))

    edges = np.linspace(-0.2, 1.0, 49)
    calibration = Calibration(
        "b7c1d0e5f2", 0.58, edges,
        np.histogram(rng.normal(0.78, 0.09, 900), edges)[0],
        np.histogram(rng.normal(0.27, 0.12, 4000), edges)[0], 0.006, 0.021, "run",
    )  # fmt: skip
    frames = sum(camera.frames for camera in cameras)
    write_run(
        out,
        RunFile(
            crosscam_version="0.1.0",
            status=RunStatus.COMPLETE,
            started=START,
            finished=START + timedelta(seconds=61.4),
            config={"detector": "yolox_nano"},
            inputs=[InputFile(path=c.video, bytes=Path(c.video).stat().st_size) for c in cameras],
            cameras=[CameraRecord.from_info(camera) for camera in cameras],
            models={
                "detector": ModelRecord(
                    name="yolox-nano", model_id="4d1f0a77c2", licence="Apache-2.0",
                    runtime="openvino", device="CPU", precision="fp32",
                ),
                "embedder": ModelRecord(
                    name="person-reidentification-retail-0277", model_id="b7c1d0e5f2",
                    licence="Apache-2.0", runtime="openvino", device="CPU", precision="fp16",
                ),
            },
            figures=Figures(
                frames=frames, detections=9120, embeddings=len(rows), tracklets=len(pairs),
                people=len(first), wall_seconds=61.4, fps=frames / 61.4,
                video_seconds=sum(c.frames / c.frame_rate for c in cameras),
                stage_seconds={"decode": 6.1, "detect": 31.0, "track": 1.6, "embed": 14.9,
                               "associate": 0.8, "write": 0.6, "render": 9.8},
                dropped={"crops below the quality gate": 214},
                peak_memory_bytes=512 * 2**20,
            ),
            calibration=CalibrationRecord.from_calibration(calibration),
            transits=transits_of(transits),
        ),
    )  # fmt: skip
