"""Tracklets with known identities for the benchmarks of association."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openvino as ov

from crosscam_edge.types import Tracklet

MODELS = {
    "0277": "person-reidentification-retail-0277.xml",
    "0287": "person-reidentification-retail-0287.onnx",
    "osnet": "osnet_x0_25_msmt17.onnx",
}
_MEAN = np.float32([0.485, 0.456, 0.406])
_STD = np.float32([0.229, 0.224, 0.225])


class Embedder:
    """One of the known ReID nets, one crop at a time."""

    def __init__(self, models: Path, name: str) -> None:
        model = ov.Core().read_model(models / MODELS[name])
        model.reshape([1, 3, 256, 128])
        self._net = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 2})
        self._imagenet = name == "osnet"

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """Return the L2-normalised embedding `(D,)` of a BGR crop."""
        image = cv2.resize(crop, (128, 256), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        if self._imagenet:
            image = (image[..., ::-1] / 255.0 - _MEAN) / _STD
        out = self._net(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))[0].reshape(-1)
        return out / np.linalg.norm(out)


def cut(rows: np.ndarray, rng: np.random.Generator, *, noisy: bool) -> list[np.ndarray]:
    """Cut the rows of one person in one camera into tracklets.

    Perfect tracklets end where the person is away for more than a second. Noisy ones are also cut
    at random (about every 12 s), lose frames, and have jittered boxes.
    """
    gaps = np.flatnonzero(np.diff(rows[:, 0]) > 10) + 1
    parts = np.split(rows, gaps)
    if noisy:
        finer = []
        for part in parts:
            cuts = np.flatnonzero(rng.random(len(part)) < 1 / 120)
            finer += [p[rng.random(len(p)) < 0.85] for p in np.split(part, cuts)]
        parts = finer
        for part in parts:
            size = part[:, 4:6].copy()
            part[:, 2:4] += rng.normal(0, 0.06, size.shape) * size
            part[:, 4:6] *= np.exp(rng.normal(0, 0.08, size.shape))
    return [p for p in parts if len(p) >= 8]


def tracklets(
    folder: Path, embed: Embedder, *, noisy: bool, step: int = 6, seed: int = 0
) -> tuple[list[Tracklet], list[int]]:
    """Return the tracklets of a folder made by `split_vtest.py`, and the person of each."""
    out: list[Tracklet] = []
    people: list[int] = []
    for truth in sorted((folder / "gt").glob("*.txt")):
        if truth.stem == "mtmc":
            continue
        rng = np.random.default_rng(seed)
        rows = np.loadtxt(truth, delimiter=",")[:, :6]
        rows[:, 0] -= 1
        wanted: dict[int, list[tuple[int, np.ndarray]]] = {}
        spans = []
        for person in np.unique(rows[:, 1]):
            for part in cut(rows[rows[:, 1] == person].copy(), rng, noisy=noisy):
                track = len(spans)
                spans.append((int(person), part))
                for row in part[:: max(step, len(part) // 16)]:
                    wanted.setdefault(int(row[0]), []).append((track, row[2:6]))
        found, size, rate = _embed_all(folder / f"{truth.stem}.mp4", wanted, embed, len(spans))
        for track, (person, part) in enumerate(spans):
            if not found[track]:
                continue
            frames = part[:, 0].astype(int)
            boxes = np.concatenate([part[:, 2:4], part[:, 2:4] + part[:, 4:6]], 1)
            time = (frames / rate * 1e9).astype(np.int64)
            out.append(
                Tracklet(
                    truth.stem, track + 1, int(time[0]), int(time[-1]), int(frames[0]),
                    int(frames[-1]), len(part), boxes[0].astype(np.float32),
                    boxes[-1].astype(np.float32), size,
                    np.stack([e for _, e in found[track]]).astype(np.float32),
                    np.array([int(f / rate * 1e9) for f, _ in found[track]], np.int64),
                    np.ones(len(found[track]), np.float32),
                )
            )  # fmt: skip
            people.append(person)
    return out, people


def _embed_all(
    video: Path, wanted: dict[int, list[tuple[int, np.ndarray]]], embed: Embedder, tracks: int
) -> tuple[list[list[tuple[int, np.ndarray]]], tuple[int, int], float]:
    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(tracks)]
    capture = cv2.VideoCapture(str(video))
    rate, frame, size = capture.get(cv2.CAP_PROP_FPS), 0, (0, 0)
    while True:
        ok, image = capture.read()
        if not ok:
            return found, size, rate
        size = (image.shape[1], image.shape[0])
        for track, (x, y, w, h) in wanted.get(frame, []):
            x1, y1 = max(0, round(x)), max(0, round(y))
            crop = image[y1 : round(y + h), x1 : round(x + w)]
            if min(crop.shape[:2]) >= 8:
                found[track].append((frame, embed(crop)))
        frame += 1
