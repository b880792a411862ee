"""The real models of the assets: found, verified, opened on both engines, and sane on footage."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from crosscam_deploy.decode import decode
from crosscam_deploy.importer import ImportOptions, import_model
from crosscam_deploy.preprocess import preprocess
from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.zoo import best_available, list_models, resolve
from crosscam_kernels.errors import InputError

DETECTORS = ["yolox-nano", "yolov8n-int8"]
EMBEDDERS = [
    "person-reidentification-retail-0277",
    "person-reidentification-retail-0287",
    "osnet_x0_25",
]


@pytest.fixture(autouse=True)
def zoo(real_models, shared_cache, monkeypatch, private_cache):
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    monkeypatch.setenv("CROSSCAM_CACHE", str(shared_cache))


@pytest.fixture(scope="module")
def frames(assets) -> list[np.ndarray]:
    """Frames 0, 40, …, 200 of PETS09-S2L1, view 1."""
    capture = cv2.VideoCapture(str(assets / "videos" / "vtest.avi"))
    read = [capture.read()[1] for _ in range(201)]
    return read[::40]


@pytest.fixture(scope="module")
def people(assets, frames) -> tuple[np.ndarray, np.ndarray]:
    """Crops (256 x 128, BGR, float32) of the ground truth in those frames, and who they are."""
    rows = np.loadtxt(assets / "groundtruth" / "vtest_mot15.txt", delimiter=",")
    crops, ids = [], []
    for position, frame in enumerate(frames):
        for row in rows[rows[:, 0] == position * 40 + 1]:
            x, y, w, h = row[2:6]
            x1, y1, x2, y2 = max(int(x), 0), max(int(y), 0), int(x + w), int(y + h)
            if h < 60 or x2 > frame.shape[1] or y2 > frame.shape[0]:
                continue
            crop = cv2.resize(frame[y1:y2, x1:x2], (128, 256), interpolation=cv2.INTER_AREA)
            crops.append(crop)
            ids.append(int(row[1]))
    return np.array(crops[::2]), np.array(ids[::2])


def prepared(bundle, crops) -> np.ndarray:
    return preprocess(list(crops), bundle.manifest.preprocessing)[0]


def test_list_and_defaults(real_models):
    here = {status.name for status in list_models() if status.available == "models"}
    assert set(DETECTORS + EMBEDDERS) <= here
    detector, embedder = best_available("detect"), best_available("embed")
    assert detector is not None
    assert embedder is not None
    assert detector.manifest.name == "yolox-nano"
    assert embedder.manifest.name == "person-reidentification-retail-0277"
    assert resolve("0277").model_id == resolve("reid").model_id == embedder.model_id


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", DETECTORS)
def test_detector_finds_people(name, engine, frames):
    bundle = resolve(name, download=False)
    prep = bundle.manifest.preprocessing
    batch, transforms = preprocess(frames, prep)
    with open_runtime(bundle, runtime=engine, precision="f32") as runtime:
        outputs = runtime.infer(batch)
    assert bundle.manifest.decoder is not None
    found = decode(outputs, bundle.manifest.decoder, transforms, (prep.height, prep.width), 0.3)
    assert max(len(d) for d in found) >= 3
    for detections in found:
        width, height = (detections.xyxy[:, 2:] - detections.xyxy[:, :2]).T
        assert np.median(height / width) > 1.5  # people stand
        assert detections.xyxy.min() > -40
        assert detections.xyxy[:, 2].max() < 768 + 40


@pytest.mark.parametrize("name", DETECTORS[:1])
def test_detector_agrees_with_the_ground_truth(name, frames, assets):
    """Recall of clearly visible people at IoU .5; .94 over the whole sequence."""
    bundle = resolve(name, download=False)
    prep = bundle.manifest.preprocessing
    rows = np.loadtxt(assets / "groundtruth" / "vtest_mot15.txt", delimiter=",")
    batch, transforms = preprocess(frames, prep)
    with open_runtime(bundle) as runtime:
        outputs = runtime.infer(batch)
    assert bundle.manifest.decoder is not None
    found = decode(outputs, bundle.manifest.decoder, transforms, (prep.height, prep.width), 0.3)
    hits = total = 0
    for position, detections in enumerate(found):
        for row in rows[rows[:, 0] == position * 40 + 1]:
            x1, y1, x2, y2 = row[2], row[3], row[2] + row[4], row[3] + row[5]
            boxes = detections.xyxy
            w = np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1)
            h = np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1)
            inter = w.clip(0) * h.clip(0)
            area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            iou = inter / (area + row[4] * row[5] - inter)
            hits += bool((iou > 0.5).any())
            total += 1
    assert hits / total > 0.8


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedder_knows_people_again(name, people):
    crops, ids = people
    bundle = resolve(name, download=False)
    with open_runtime(bundle, precision="f32") as runtime:
        vectors = runtime.infer(prepared(bundle, crops))[0]
    assert vectors.shape == (len(crops), bundle.manifest.embedding_dim)
    assert np.isfinite(vectors).all()
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    same = ids[:, None] == ids[None]
    np.fill_diagonal(same, val=False)
    different = ids[:, None] != ids[None]
    assert same.sum() > 20
    assert similarity[same].mean() > similarity[different].mean() + 0.1


@pytest.mark.parametrize("name", [*DETECTORS, *EMBEDDERS[1:]])
def test_engines_agree(name, frames, people):
    bundle = resolve(name, download=False)
    images = frames[:2] if bundle.manifest.task == "detect" else list(people[0][:5])
    batch = prepared(bundle, images)
    outputs = []
    for engine in ("openvino", "onnxruntime"):
        with open_runtime(bundle, runtime=engine, precision="f32") as runtime:
            outputs.append(runtime.infer(batch)[0])
    if name == "yolov8n-int8":  # dynamic int8: the engines round differently
        scores = [output[:, 4] for output in outputs]
        assert np.abs(scores[0] - scores[1]).max() < 0.15
        return
    scale = np.abs(outputs[1]).max()
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-4 * scale


def test_bf16_stays_close_to_f32(people):
    """OpenVINO's own choice on CPUs that have bf16 must not change who is who."""
    bundle = resolve(EMBEDDERS[0], download=False)
    batch = prepared(bundle, people[0])
    vectors = []
    for precision in ("f32", "auto"):
        with open_runtime(bundle, precision=precision) as runtime:
            found = runtime.infer(batch)[0]
        vectors.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    assert (vectors[0] * vectors[1]).sum(1).min() > 0.99


@pytest.mark.parametrize("name", EMBEDDERS)
def test_batches_do_not_change_the_embedding(name, people):
    bundle = resolve(name, download=False)
    batch = prepared(bundle, people[0][:5])
    with open_runtime(bundle, precision="f32", streams=2) as runtime:
        together = runtime.infer(batch)[0]
        alone = np.concatenate([runtime.infer(batch[i : i + 1])[0] for i in range(len(batch))])
        queued = [runtime.submit(batch[i : i + 2]) for i in range(0, 4, 2)]
        later = np.concatenate([future.result(30)[0] for future in queued])
    np.testing.assert_allclose(together, alone, atol=1e-4 * np.abs(alone).max())
    np.testing.assert_allclose(together[:4], later, atol=1e-4 * np.abs(alone).max())


def test_plain_path_of_a_known_file(real_models):
    bundle = resolve(str(real_models / "yolox_nano.onnx"))
    assert bundle.model_id == resolve("yolox-nano").model_id


def test_wrong_preprocessing_in_a_manifest(tmp_path):
    """A person net's size in the manifest of a 416 x 416 detector."""
    original = resolve("yolox-nano")
    folder = tmp_path / "wrong"
    shutil.copytree(original.path, folder)
    prep = original.manifest.preprocessing.model_copy(update={"height": 256, "width": 128})
    changed = original.manifest.model_copy(update={"preprocessing": prep})
    changed = changed.model_copy(update={"model_id": changed.computed_model_id()})
    (folder / "manifest.json").write_text(changed.model_dump_json())
    with pytest.raises(InputError, match=r"256x128.*the graph takes 416x416"):
        open_runtime(resolve(str(folder)))


@pytest.mark.parametrize(
    ("file", "task", "options", "zoo_name"),
    [
        ("yolox_nano.onnx", "detect", {}, "yolox-nano"),
        ("yolov8n_int8.onnx", "detect", {}, "yolov8n-int8"),
        (
            "person-reidentification-retail-0277.xml",
            "embed",
            {"color": "bgr", "normalise": "none"},
            "0277",
        ),
        (
            "osnet_x0_25_msmt17.onnx",
            "embed",
            {"color": "rgb", "normalise": "imagenet"},
            "osnet_x0_25",
        ),
    ],
)
def test_import_by_hand_gives_the_zoos_model(file, task, options, zoo_name, real_models, tmp_path):
    bundle = import_model(real_models / file, task, tmp_path / "b", ImportOptions(**options))
    zoo = resolve(zoo_name)
    assert bundle.manifest.preprocessing == zoo.manifest.preprocessing
    assert bundle.manifest.decoder == zoo.manifest.decoder
    assert bundle.model_id == zoo.model_id


def test_read_only_models_folder_is_left_alone(real_models):
    before = sorted((p.name, p.stat().st_mtime_ns) for p in Path(real_models).iterdir())
    for name in DETECTORS + EMBEDDERS:
        resolve(name, download=False)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in Path(real_models).iterdir()) == before
