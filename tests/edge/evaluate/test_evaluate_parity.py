"""Our scores equal TrackEval's on real ground truth under noise, and in degenerate cases."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from crosscam_edge.evaluate import EvalOptions, evaluate_mot
from crosscam_edge.sinks.mot import MotSequence, read_mot

trackeval = pytest.importorskip("trackeval")


def rival(gt: MotSequence, pred: MotSequence, threshold: float = 0.5) -> dict[str, dict]:
    """Score with TrackEval from the same boxes, through its own IoU."""
    from trackeval.datasets._base_dataset import _BaseDataset

    frames = np.union1d(gt.frame, pred.frame)
    _, gt_ids = np.unique(gt.object_id, return_inverse=True)
    _, pred_ids = np.unique(pred.object_id, return_inverse=True)
    rows = [(np.flatnonzero(gt.frame == f), np.flatnonzero(pred.frame == f)) for f in frames]
    similarity = [
        _BaseDataset._calculate_box_ious(gt.xyxy[g], pred.xyxy[p], box_format="x0y0x1y1")
        for g, p in rows
    ]
    data = {
        "num_timesteps": len(frames),
        "num_gt_dets": len(gt),
        "num_tracker_dets": len(pred),
        "num_gt_ids": len(np.unique(gt.object_id)),
        "num_tracker_ids": len(np.unique(pred.object_id)),
        "gt_ids": [gt_ids[g] for g, _ in rows],
        "tracker_ids": [pred_ids[p] for _, p in rows],
        "similarity_scores": similarity,
    }
    config = {"THRESHOLD": threshold, "PRINT_CONFIG": False}
    return {
        "hota": trackeval.metrics.HOTA().eval_sequence(data),
        "clear": trackeval.metrics.CLEAR(config).eval_sequence(data),
        "identity": trackeval.metrics.Identity(config).eval_sequence(data),
    }


def assert_equal(gt: MotSequence, pred: MotSequence, iou: float = 0.5) -> None:
    ours = evaluate_mot(gt, pred, EvalOptions(iou=iou))
    theirs = rival(gt, pred, iou)
    c, t = ours.clear, theirs["clear"]
    counts = {"CLR_TP": c.tp, "CLR_FP": c.fp, "CLR_FN": c.fn, "IDSW": c.idsw, "Frag": c.frag}
    counts |= {"MT": c.mt, "PT": c.pt, "ML": c.ml}
    assert counts == {name: int(t[name]) for name in counts}
    if len(gt) and len(pred):  # TrackEval leaves its ratios at 0 when a side is empty
        assert c.mota == pytest.approx(t["MOTA"], abs=1e-12)
        assert c.motp == pytest.approx(t["MOTP"], abs=1e-12)
    h, t = ours.hota, theirs["hota"]
    names = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr")
    for name in names:
        expected = float(np.mean(t[name]))
        assert getattr(h, name.lower()) == pytest.approx(expected, abs=1e-12), name
    np.testing.assert_allclose(h.hota_alpha, np.broadcast_to(t["HOTA"], 19), atol=1e-12)
    i, t = ours.identity, theirs["identity"]
    assert (i.idtp, i.idfp, i.idfn) == tuple(int(t[k]) for k in ("IDTP", "IDFP", "IDFN"))
    for name in ("IDF1", "IDP", "IDR"):
        assert getattr(i, name.lower()) == pytest.approx(float(t[name]), abs=1e-12)


def perturbed(gt: MotSequence, seed: int, noise: float) -> MotSequence:
    """A bad tracker: jitter, misses, inventions, ids that break and swap."""
    rng = np.random.default_rng(seed)
    keep = rng.random(len(gt)) > noise
    s = gt[keep]
    size = (s.xyxy[:, 2:] - s.xyxy[:, :2]).mean(axis=1, keepdims=True)
    boxes = s.xyxy + rng.normal(0, noise * 0.4, s.xyxy.shape) * size
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    ids = s.object_id * 1000 + (s.frame + 37 * s.object_id) // int(400 * (1 - noise) + 30)
    swap = (s.frame > 300) & np.isin(s.object_id, np.unique(s.object_id)[:4])
    ids[swap] = ids[swap] + 1000
    extra = rng.integers(0, len(s), int(noise * len(s)))
    frames = np.concatenate([s.frame, s.frame[extra]])
    shift = rng.normal(0, 20, (len(extra), 1))
    boxes = np.concatenate([boxes, boxes[extra] + shift])
    ids = np.concatenate([ids, 10**6 + rng.integers(0, 40, len(extra))])
    _, first = np.unique(np.stack([frames, ids]), axis=1, return_index=True)
    return MotSequence.of(frames[first], ids[first], boxes[first]).sorted()


@pytest.fixture(scope="module")
def truth() -> MotSequence:
    assets = os.environ.get("CROSSCAM_ASSETS")
    path = Path(assets or "") / "groundtruth" / "vtest_mot15.txt"
    if not assets or not path.is_file():
        pytest.skip("CROSSCAM_ASSETS has no groundtruth/vtest_mot15.txt")
    everything = read_mot(path, ground_truth=True)
    return everything[everything.confidence != 0]  # conventions are tested on their own


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("seed", [1, 2])
def test_noisy_tracks_on_real_truth(truth: MotSequence, seed: int, noise: float) -> None:
    assert_equal(truth, perturbed(truth, seed, noise))


@pytest.mark.parametrize("iou", [0.3, 0.75])
def test_other_overlaps(truth: MotSequence, iou: float) -> None:
    assert_equal(truth, perturbed(truth, 3, 0.2), iou)


def test_perfect_tracks_score_one(truth: MotSequence) -> None:
    scores = evaluate_mot(truth, truth)
    assert scores.clear.mota == 1
    assert scores.identity.idf1 == 1
    assert scores.hota.hota == pytest.approx(1)
    assert scores.clear.idsw == scores.clear.ml == 0


def test_empty_sides(truth: MotSequence) -> None:
    nobody = MotSequence.empty()
    assert_equal(truth, nobody)
    assert_equal(nobody, truth)
    scores = evaluate_mot(nobody, nobody)
    assert scores.clear.fp == scores.clear.fn == 0


def test_no_frame_in_common(truth: MotSequence) -> None:
    late = MotSequence.of(truth.frame + 10_000, truth.object_id, truth.xyxy)
    assert_equal(truth, late)


@pytest.mark.parametrize("seed", range(30))
def test_random_tiny_sequences(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def tracks() -> MotSequence:
        n = int(rng.integers(1, 60))
        keys = np.unique(np.stack([rng.integers(0, 12, n), rng.integers(0, 6, n)]), axis=1)
        corner = rng.integers(0, 4, (keys.shape[1], 2)) * 5.0 + rng.random((keys.shape[1], 2))
        sizes = rng.integers(0, 12, (keys.shape[1], 2))
        return MotSequence.of(keys[0], keys[1], np.concatenate([corner, corner + sizes], 1))

    assert_equal(tracks().sorted(), tracks().sorted())
