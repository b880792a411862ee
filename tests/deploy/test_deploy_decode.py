"""Decoders: known boxes are written as each head would, and must come back."""

from __future__ import annotations

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_deploy.decode import MAX_DETECTIONS, decode, grid_size, nms
from crosscam_deploy.manifest import Decoder, Preprocessing
from crosscam_deploy.preprocess import LetterboxTransform, plan
from crosscam_kernels.errors import ShapeError

SIZE = (128, 96)  # height, width
CLASSES = 5
PERSON = 2
IDENTITY = LetterboxTransform(1.0, 1.0)


@st.composite
def scenes(draw):
    """Boxes in input pixels that do not overlap: one in each cell of a 32-pixel raster."""
    cells = [(x, y) for y in range(SIZE[0] // 32) for x in range(SIZE[1] // 32)]
    chosen = draw(st.lists(st.sampled_from(cells), max_size=8, unique=True))
    boxes = []
    for x, y in chosen:
        w, h = draw(st.floats(4, 30)), draw(st.floats(4, 30))
        left, top = draw(st.floats(0, 31 - w)), draw(st.floats(0, 31 - h))
        boxes.append([32 * x + left, 32 * y + top, 32 * x + left + w, 32 * y + top + h])
    # Steps that no head's rounding makes equal: the order of ties is not the decoder's to say.
    steps = st.lists(st.integers(300, 990), min_size=len(boxes), max_size=len(boxes), unique=True)
    scores = [step / 1000 for step in draw(steps)]
    image = draw(st.tuples(st.integers(20, 700), st.integers(20, 700)))
    fit = draw(st.sampled_from(["stretch", "letterbox", "letterbox_topleft"]))
    prep = Preprocessing(height=SIZE[0], width=SIZE[1], color="bgr", fit=fit)
    transform, _, _ = plan(image[0], image[1], prep)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), transform


def centre_size(xyxy):
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1)


def encode_yolox(xyxy, scores):
    anchors = []
    for stride in (8, 16, 32):
        ys, xs = np.mgrid[: SIZE[0] // stride, : SIZE[1] // stride]
        anchors += [(x, y, stride) for y, x in zip(ys.ravel(), xs.ravel(), strict=True)]
    rows = np.zeros((len(anchors), 5 + CLASSES), np.float32)
    rows[:, 5 + 1] = 1  # another class everywhere: must not come out
    rows[:, 4] = 0.1
    rng = np.random.default_rng(0)
    places = rng.permutation(len(anchors))[: len(xyxy)]
    for place, box, score in zip(places, centre_size(xyxy), scores, strict=True):
        x, y, stride = anchors[place]
        rows[place, :2] = box[:2] / stride - (x, y)
        rows[place, 2:4] = np.log(box[2:] / stride)
        rows[place, 4], rows[place, 5 + PERSON] = np.sqrt(score), np.sqrt(score)
    return [rows[None]]


def encode_yolo_raw(xyxy, scores):
    columns = np.zeros((4 + CLASSES, 200), np.float32)
    columns[:4] = 10
    columns[4 + 1] = 0.9
    places = np.random.default_rng(0).permutation(200)[: len(xyxy)]
    columns[:4, places] = centre_size(xyxy).T
    columns[4 + PERSON, places] = scores
    return [columns[None]]


def encode_end2end(xyxy, scores):
    rows = np.zeros((30, 6), np.float32)
    rows[:, 5] = 1
    rows[:, 4] = 0.9
    places = np.random.default_rng(0).permutation(30)[: len(xyxy)]
    rows[places, :4], rows[places, 4], rows[places, 5] = xyxy, scores, PERSON
    return [rows[None]]


def encode_detr(xyxy, scores, *, joined=False):
    logits = np.full((30, CLASSES), -9, np.float32)
    boxes = np.full((30, 4), 0.5, np.float32)
    places = np.random.default_rng(0).permutation(30)[: len(xyxy)]
    scale = np.array([SIZE[1], SIZE[0], SIZE[1], SIZE[0]], np.float32)
    boxes[places] = centre_size(xyxy) / scale
    if joined:
        table = np.zeros((30, CLASSES), np.float32)
        table[places, PERSON] = scores
        return [np.concatenate([boxes, table], 1)[None]]
    logits[places, PERSON] = np.log(scores / (1 - scores))
    return [logits[None], boxes[None]]


HEADS = {
    "yolox": (encode_yolox, {}),
    "yolo_raw": (encode_yolo_raw, {}),
    "end2end": (encode_end2end, {}),
    "detr": (encode_detr, {}),
    "detr-joined": (lambda b, s: encode_detr(b, s, joined=True), {"activation": "none"}),
}


def head(kind, **more):
    fields = {"person_class": PERSON, "num_classes": CLASSES} | HEADS[kind][1] | more
    return Decoder(kind=kind.split("-")[0], **fields)


@pytest.mark.parametrize("kind", HEADS)
@given(scene=scenes())
@settings(deadline=None, max_examples=60)
def test_known_boxes_come_back(kind, scene):
    xyxy, scores, transform = scene
    (found,) = decode(HEADS[kind][0](xyxy, scores), head(kind), [transform], SIZE, 0.2)
    order = np.argsort(-scores, kind="stable")
    assert found.class_id.tolist() == [0] * len(xyxy)
    np.testing.assert_allclose(found.confidence, scores[order], atol=1e-4)
    expected = transform.to_source(xyxy[order])
    # float32 in the input's pixels, magnified into the image's
    tolerance = 2e-3 / min(transform.scale_x, transform.scale_y)
    np.testing.assert_allclose(found.xyxy, expected, atol=tolerance)


@pytest.mark.parametrize("kind", HEADS)
def test_batch_is_decoded_image_by_image(kind):
    boxes = np.array([[10, 20, 30, 60], [50, 50, 80, 90]], np.float32)
    encode = HEADS[kind][0]
    first = encode(boxes[:1], np.array([0.8], np.float32))
    second = encode(boxes[1:], np.array([0.6], np.float32))
    both = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    transforms = [IDENTITY, LetterboxTransform(0.5, 0.5, 4, 0)]
    results = decode(both, head(kind), transforms, SIZE, 0.2)
    np.testing.assert_allclose(results[0].xyxy, boxes[:1], atol=1e-3)
    np.testing.assert_allclose(results[1].xyxy, [[92, 100, 152, 180]], atol=1e-3)


@pytest.mark.parametrize("kind", HEADS)
def test_nothing_found(kind):
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    (found,) = decode(HEADS[kind][0](*none), head(kind), [IDENTITY], SIZE, 0.2)
    assert len(found) == 0


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_dropped_and_counted(kind, value):
    boxes = np.array([[10, 20, 30, 60], [50, 50, 80, 90]], np.float32)
    outputs = HEADS[kind][0](boxes, np.array([0.8, 0.6], np.float32))
    clean = decode(outputs, head(kind), [IDENTITY], SIZE, 0.2)[0]
    target = outputs[-1] if kind == "detr" else outputs[0]
    if kind == "yolo_raw":
        best = target[0, 4 + PERSON].argmax()
        target[0, 2, best] = value
    elif kind == "end2end":
        best = np.where(target[0, :, 5] == PERSON, target[0, :, 4], 0).argmax()
        target[0, best, 0] = value
    elif kind == "yolox":
        best = (target[0, :, 4] * target[0, :, 5 + PERSON]).argmax()
        target[0, best, 0] = value
    else:
        scores = outputs[0][0, :, PERSON] if kind == "detr" else target[0, :, 4 + PERSON]
        target[0, scores.argmax(), 0] = value
    with structlog.testing.capture_logs() as logs:
        (found,) = decode(outputs, head(kind), [IDENTITY], SIZE, 0.2)
    assert len(clean) == 2
    assert len(found) == 1
    assert found.confidence[0] == pytest.approx(0.6, abs=1e-4)
    assert logs[0]["count"] == 1


def test_nan_scores_do_not_survive():
    rows = np.full((1, 10, 6), np.nan, np.float32)
    rows[..., 5] = PERSON
    (found,) = decode([rows], head("end2end"), [IDENTITY], SIZE, 0.2)
    assert len(found) == 0


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("yolox", [(1, 100, 5 + CLASSES)]),
        ("yolox", [(1, grid_size(SIZE, (8, 16, 32)), 85)]),
        ("yolo_raw", [(1, 200, 4 + CLASSES)]),
        ("yolo_raw", [(4 + CLASSES, 200)]),
        ("end2end", [(1, 300, 7)]),
        ("end2end", [(2, 300, 6)]),
        ("end2end", [(1, 300, 6), (1, 300, 6)]),
        ("detr", [(1, 30, CLASSES), (1, 29, 4)]),
        ("detr", [(1, 30, CLASSES), (1, 30, 5)]),
        ("detr", []),
    ],
)
def test_wrong_shapes_name_the_right_one(kind, shapes):
    outputs = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(ShapeError, match="import the model again") as caught:
        decode(outputs, head(kind), [IDENTITY], SIZE, 0.2)
    assert kind in caught.value.expected


def test_detr_takes_its_outputs_in_either_order():
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    outputs = encode_detr(boxes, np.array([0.8], np.float32))
    (found,) = decode(outputs[::-1], head("detr"), [IDENTITY], SIZE, 0.2)
    np.testing.assert_allclose(found.xyxy, boxes, atol=1e-3)


def test_detr_softmax_counts_the_background_class():
    logits = np.zeros((1, 1, 3), np.float32)
    logits[0, 0] = [2.0, 0.0, 1.0]
    boxes = np.full((1, 1, 4), 0.5, np.float32)
    decoder = Decoder(kind="detr", person_class=0, num_classes=3, activation="softmax")
    (found,) = decode([logits, boxes], decoder, [IDENTITY], SIZE, 0.2)
    expected = np.exp(2) / (np.exp(2) + 1 + np.exp(1))
    assert found.confidence[0] == pytest.approx(expected, abs=1e-5)


def plain_nms(xyxy, iou):
    """The definition, one pair at a time."""
    kept = []
    for i, a in enumerate(xyxy.astype(np.float64)):
        for j in kept:
            b = xyxy[j].astype(np.float64)
            w = min(a[2], b[2]) - max(a[0], b[0])
            h = min(a[3], b[3]) - max(a[1], b[1])
            inter = max(w, 0) * max(h, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
            if inter / union > iou:
                break
        else:
            kept.append(i)
    return kept


@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), iou=st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=60)
def test_nms_is_the_definition(seed, count, iou):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], 1).astype(np.float32)
    scores = np.sort(rng.uniform(0.1, 1, count).astype(np.float32))[::-1].copy()
    assert nms(xyxy, scores, iou).tolist() == plain_nms(xyxy, iou)


def test_a_head_that_fires_everywhere_is_bounded():
    rows = np.zeros((1, 5000, 6), np.float32)
    rows[..., 2:4] = 10
    rows[..., 4], rows[..., 5] = 0.9, PERSON
    (found,) = decode([rows], head("end2end"), [IDENTITY], SIZE, 0.2)
    assert len(found) == MAX_DETECTIONS
