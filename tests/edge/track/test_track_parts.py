"""The filter, the evidence, the gate, and the exemplars, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_deploy.detections import Detections
from crosscam_edge.boxes import at_border, iou, share_inside, to_cxcywh, to_xyxy
from crosscam_edge.embed.quality import QualityConfig, crop_quality, sharpness, visible_share
from crosscam_edge.track.appearance import AppearanceScale
from crosscam_edge.track.matching import assign, contested
from crosscam_edge.track.motion import KalmanBatch, MotionModel
from crosscam_edge.track.tracklets import ExemplarSet, fit_velocity


def test_prediction_is_exact_for_any_step():
    one, many = KalmanBatch(), KalmanBatch()
    for k in (one, many):
        k.add(np.array([[100.0, 100, 30, 90]]), np.ones(1))
        k.velocity[:] = [40.0, -10, 0, 0]
    one.predict(2.0)
    for _ in range(20):
        many.predict(0.1)
    np.testing.assert_allclose(one.mean, many.mean, rtol=1e-9)
    np.testing.assert_allclose(one.covariance, many.covariance, rtol=1e-9)


def test_filter_equals_the_textbook_one():
    model = MotionModel()
    batch = KalmanBatch(model)
    batch.add(np.array([[50.0, 60, 30, 100]]), np.ones(1))
    rng = np.random.default_rng(0)
    tau, dt, scale = model.memory, 0.2, 100.0
    phi = np.exp(-dt / tau)
    f = np.array([[1, tau * (1 - phi)], [0, phi]])
    x, p = np.array([50.0, 0]), np.diag([(model.noise * scale) ** 2, (model.speed * scale) ** 2])
    # Noise of one step by fine numerical integration of the defining equation.
    rate, q = 2 * (model.speed * scale) ** 2 / tau, np.zeros((2, 2))
    for s in (np.arange(20000) + 0.5) * dt / 20000:
        g = np.array([tau * (1 - np.exp(-s / tau)), np.exp(-s / tau)])
        q += np.outer(g, g) * rate * dt / 20000
    for _ in range(5):
        z = 50 + rng.normal(0, 5)
        batch.mean[0, 3] = scale  # the noise scale of the reference is fixed
        batch.predict(dt)
        x, p = f @ x, f @ p @ f.T + q
        batch.mean[0, 3] = scale
        batch.update(np.array([0]), np.array([[z, 60, 30, 100]]), np.ones(1))
        gain = p[:, 0] / (p[0, 0] + (model.noise * scale) ** 2)
        x, p = x + gain * (z - x[0]), p - np.outer(gain, p[0])
        np.testing.assert_allclose([batch.mean[0, 0], batch.velocity[0, 0]], x, rtol=1e-5)
        got = batch.covariance[0, 0]
        np.testing.assert_allclose(got, [p[0, 0], p[0, 1], p[1, 1]], rtol=1e-5)


def test_unseen_tracks_slow_down_and_grow_unsure():
    k = KalmanBatch()
    k.add(np.array([[0.0, 0, 30, 90]]), np.ones(1))
    k.velocity[:, 0] = 60
    spread = [float(k.innovation()[0, 0])]
    for _ in range(20):
        k.predict(1.0)
        spread.append(float(k.innovation()[0, 0]))
    assert (np.diff(spread) > 0).all()
    assert 110 < k.mean[0, 0] <= 60 * k.model.memory


numbers = st.floats(-1e3, 1e3)


@given(st.lists(st.tuples(numbers, numbers, st.floats(1, 500), st.floats(1, 500)), max_size=8))
def test_boxes_survive_conversion_and_overlap_is_a_ratio(rows):
    box = np.array(rows, float).reshape(-1, 4)
    corner = to_xyxy(box)
    np.testing.assert_allclose(to_cxcywh(corner), box, atol=1e-6)
    overlap = iou(corner, corner)
    assert ((overlap >= 0) & (overlap <= 1 + 1e-9)).all()
    np.testing.assert_allclose(np.diag(overlap), 1, atol=1e-6)
    np.testing.assert_allclose(overlap, overlap.T)


def test_border_and_inside():
    box = np.array([[-50.0, 0, 50, 100], [2, 100, 40, 200], [300, 100, 340, 200]])
    np.testing.assert_allclose(share_inside(box, (640, 480)), [0.5, 1, 1])
    assert at_border(box, (640, 480)).tolist() == [True, True, False]


@settings(max_examples=50)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10**6))
def test_assignment_is_one_to_one_above_the_least_and_optimal(rows, columns, seed):
    from itertools import permutations

    evidence = np.random.default_rng(seed).normal(0, 3, (rows, columns))
    evidence[evidence < -3] = -np.inf
    r, c = assign(evidence, 0.5)
    assert len(set(r.tolist())) == len(r) == len(set(c.tolist()))
    assert (evidence[r, c] > 0.5).all()
    gain = np.zeros((max(rows, columns),) * 2)
    gain[:rows, :columns] = np.maximum(np.where(np.isfinite(evidence), evidence - 0.5, 0), 0)
    best = max(sum(gain[i, j] for i, j in enumerate(p)) for p in permutations(range(len(gain))))
    assert sum(evidence[r, c] - 0.5) == pytest.approx(best)


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_every_exchange_nearly_as_good_is_contested(rows, columns, seed):
    evidence = np.random.default_rng(seed).normal(2, 6, (rows, columns))
    gain = np.maximum(evidence, 0)
    chosen = assign(evidence, 0.0)
    mask = contested(evidence, chosen, 0.0, 3.0)
    assert not mask[evidence <= 0].any()
    own = dict(zip(*(c.tolist() for c in chosen), strict=True))
    owner = {j: i for i, j in own.items()}
    for i, j in np.argwhere(evidence > 0).tolist():
        if own.get(i) == j:
            continue
        before, after = gain[i, own[i]] if i in own else 0.0, gain[i, j]
        if j in owner:
            k = owner[j]
            before += gain[k, j]
            spare = [m for m in range(columns) if m not in owner or m == own.get(i)]
            after += max((gain[k, m] for m in spare), default=0.0)
        if before - after <= 3.0:
            assert mask[i, j]
            assert j not in owner or mask[owner[j], j]
            assert i not in own or mask[i, own[i]]


def test_people_far_apart_are_not_contested_and_close_ones_are():
    apart = np.array([[9.0, -40.0], [-40.0, 9.0]])
    close = np.array([[9.0, 7.0], [6.0, 9.0]])
    newcomer = np.array([[9.0, 8.0]])
    for evidence, expected in ((apart, False), (close, True), (newcomer, True)):
        mask = contested(evidence, assign(evidence, 0.0), 0.0, 6.0)
        assert mask.all() == mask.any() == expected
    nobody = np.zeros((2, 0))
    assert contested(nobody, assign(nobody, 0.0), 0.0, 6.0).shape == (2, 0)


def test_evidence_of_looks_adapts_to_the_network():
    scale = AppearanceScale()
    rng = np.random.default_rng(0)
    # A network for which strangers are alike at 0.7: the prior would call 0.75 the same person.
    assert scale.evidence(np.array(0.75)) > 3
    scale.learn_genuine(rng.normal(0.93, 0.03, 500))
    scale.learn_impostor(rng.normal(0.7, 0.06, 500))
    low, mid, high = scale.evidence(np.array([0.75, 0.85, 0.93]))
    assert low < -2 < mid < high
    assert high > 2
    assert scale.evidence(np.array([np.nan]))[0] == 0
    grid = scale.evidence(np.linspace(-1, 1, 101))
    assert (np.diff(grid) >= 0).all()


def people(*boxes, confidence=0.9):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, confidence, np.float32),
        np.zeros(n, np.int32),
    )


def test_the_one_in_front_hides_the_one_behind():
    behind, front = [100, 100, 160, 280], [130, 120, 190, 300]
    share = visible_share(np.array([behind, front], float), (640, 480))
    assert share[1] == 1
    assert 0.45 < share[0] < 0.65  # exactly 1 - 30 * 160 / (60 * 180) = 0.556


def test_gate_closes_for_bad_crops_and_grades_the_rest():
    good = [300, 100, 360, 280]
    assert crop_quality(people(good), (640, 480))[0] > 0.85
    for bad in (
        [300, 100, 308, 124],
        [300, 100, 460, 280],
        [300, 0, 310, 200],
        [-50, 100, 20, 280],
    ):
        assert crop_quality(people(bad), (640, 480))[0] == 0, bad
    assert crop_quality(people(good, confidence=0.2), (640, 480))[0] == 0
    assert len(crop_quality(Detections.empty(), (640, 480))) == 0
    # A weak ghost box in front does not hide a real person.
    ghost = people(good, [310, 110, 370, 290])
    ghost.confidence[1] = 0.15
    assert crop_quality(ghost, (640, 480))[0] > 0.85


def test_blur_is_caught_when_pixels_are_given():
    image = np.random.default_rng(0).integers(0, 255, (200, 100, 3)).astype(np.uint8)
    image[:, 50:] = np.linspace(0, 255, 200, dtype=np.uint8)[:, None, None]
    box = np.array([[0, 20, 50, 180], [50, 20, 100, 180]], np.float32)
    sharp, smooth = sharpness(image, box)
    assert sharp > 10 * smooth
    config = QualityConfig(min_sharpness=(sharp + smooth) / 2)
    found = people(*box.tolist())
    assert (crop_quality(found, (100, 200), config, image=image) > 0).tolist() == [True, False]


def test_exemplars_stay_bounded_and_diverse():
    kept = ExemplarSet(4)
    rng = np.random.default_rng(0)
    for k in range(100):  # one pose nearly all the time, three others once each
        row = np.zeros(8, np.float32)
        row[{20: 1, 50: 2, 80: 3}.get(k, 0)] = 1
        row += rng.normal(0, 0.01, 8).astype(np.float32)
        kept.add(row / np.linalg.norm(row), 0.5 + 0.001 * k, k)
    assert len(kept) == 4
    assert sorted(kept.embeddings.argmax(axis=1).tolist()) == [0, 1, 2, 3]
    assert len(kept.qualities) == len(kept.times_ns) == 4


def test_velocity_is_pixels_per_second():
    points = [
        (10**18 + k * 10**8, k, np.array([k, 2 * k, k + 10, 2 * k + 30], np.float32))
        for k in range(10)
    ]
    np.testing.assert_allclose(fit_velocity(points), [10, 20], rtol=1e-5)
    assert fit_velocity(points[:1]).tolist() == [0, 0]
    assert fit_velocity([points[0], points[0]]).tolist() == [0, 0]
