"""Importing foreign graphs: the family from shapes, questions for the rest, one real run."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_deploy.decode import decode, grid_size
from crosscam_deploy.graph import GraphInfo
from crosscam_deploy.importer import ImportOptions, bundle_name, detect_family, import_model
from crosscam_deploy.preprocess import preprocess
from crosscam_deploy.runtime import open_runtime
from crosscam_kernels.errors import InputError, UsageError

SIZE = (128, 128)
ANCHORS = grid_size(SIZE, (8, 16, 32))


def one_person(kind: str) -> dict[str, np.ndarray]:
    """Outputs of each head with one person at 8, 16, 40, 56 in the 128 x 128 input."""
    if kind == "yolox":
        rows = np.zeros((1, ANCHORS, 85), np.float32)
        rows[0, 0] = 0
        rows[0, 0, :4] = [24 / 8, 36 / 8, np.log(32 / 8), np.log(40 / 8)]
        rows[0, 0, 4:6] = 0.9
        return {"output": rows}
    if kind == "yolo_raw":
        columns = np.zeros((1, 84, ANCHORS), np.float32)
        columns[0, :5, 3] = [24, 36, 32, 40, 0.81]
        return {"output0": columns}
    if kind == "end2end":
        rows = np.zeros((1, 30, 6), np.float32)
        rows[0, 0] = [8, 16, 40, 56, 0.81, 0]
        return {"output0": rows}
    logits = np.full((1, 20, 80), -9, np.float32)
    logits[0, 2, 0] = np.log(0.81 / 0.19)
    boxes = np.full((1, 20, 4), 0.5, np.float32)
    boxes[0, 2] = np.array([24, 36, 32, 40]) / 128
    return {"logits": logits, "pred_boxes": boxes}


@pytest.mark.parametrize("kind", ["yolox", "yolo_raw", "end2end", "detr"])
def test_detectors_are_recognised_and_work(kind, tmp_path, make):
    file = make.write_constant_detector(tmp_path / f"{kind}.onnx", one_person(kind), size=SIZE)
    bundle = import_model(file, "detect", tmp_path / "b", ImportOptions(licence="MIT"))
    manifest = bundle.manifest
    assert manifest.decoder is not None
    assert manifest.decoder.kind == kind
    assert manifest.preprocessing.color == ("bgr" if kind == "yolox" else "rgb")
    assert manifest.licence == "MIT"
    image = np.zeros((256, 256, 3), np.uint8)
    batch, transforms = preprocess([image, image], manifest.preprocessing)
    with open_runtime(bundle, precision="f32") as runtime:
        found = decode(runtime.infer(batch), manifest.decoder, transforms, SIZE, 0.3)
    for detections in found:
        np.testing.assert_allclose(detections.xyxy, [[16, 32, 80, 112]], atol=0.01)
        np.testing.assert_allclose(detections.confidence, [0.81], atol=1e-4)


def signature(outputs, metadata=None, size=(640, 640)):
    return GraphInfo("onnx", {"images": (None, 3, *size)}, outputs, metadata or {})


@pytest.mark.parametrize(
    ("outputs", "size", "family"),
    [
        ({"o": (1, 8400, 85)}, (640, 640), "yolox"),
        ({"o": (1, 3549, 85)}, (416, 416), "yolox"),
        ({"o": (1, 3549, 6)}, (416, 416), "yolox"),  # one class, as many rows as anchors
        ({"o": (1, 84, 8400)}, (640, 640), "yolo_raw"),
        ({"o": (1, 5, 8400)}, (640, 640), "yolo_raw"),
        ({"o": (1, 300, 6)}, (640, 640), "end2end"),
        ({"o": (1, None, 6)}, (640, 640), "end2end"),
        ({"o": (1, 300, 84)}, (640, 640), "detr"),
        ({"l": (1, 300, 80), "b": (1, 300, 4)}, (640, 640), "detr"),
        ({"b": (1, 900, 4), "l": (1, 900, 91)}, (640, 640), "detr"),
    ],
)
def test_families(outputs, size, family):
    assert detect_family(signature(outputs, size=size), size, "m.onnx") == family


@pytest.mark.parametrize(
    "outputs",
    [
        {"o": (1, 512)},
        {"o": (1, 3, 80, 80, 85)},
        {"a": (1, 10, 10), "b": (1, 5, 5), "c": (1, 4, 4)},
        {"o": (1, 10, 3)},
    ],
)
def test_unknown_heads_are_refused(outputs):
    with pytest.raises(InputError, match="--family"):
        detect_family(signature(outputs), (640, 640), "m.onnx")


def test_embedder_needs_channel_order_and_scaling(tmp_path, make):
    file = make.write_embedder(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="--color and --normalise"):
        import_model(file, "embed", tmp_path / "b", ImportOptions())
    with pytest.raises(UsageError, match="give --normalise"):
        import_model(file, "embed", tmp_path / "b", ImportOptions(color="rgb"))
    options = ImportOptions(color="rgb", normalise="imagenet", name="mine", training="Market-1501")
    bundle = import_model(file, "embed", tmp_path / "b", options)
    assert bundle.manifest.name == "mine"
    assert bundle.manifest.embedding_dim == 8
    assert bundle.manifest.dynamic_batch
    assert bundle.manifest.preprocessing.mean == (0.485, 0.456, 0.406)
    assert bundle.manifest.training == "Market-1501"


def test_free_size_is_asked_for(tmp_path, make):
    file = make.write_embedder(tmp_path / "net.onnx", size=("h", "w"))
    fields = {"color": "rgb", "normalise": "unit"}
    with pytest.raises(UsageError, match="--size"):
        import_model(file, "embed", tmp_path / "b", ImportOptions(**fields))
    bundle = import_model(file, "embed", tmp_path / "b", ImportOptions(size=(64, 32), **fields))
    assert (bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width) == (64, 32)


def test_size_that_contradicts_the_graph(tmp_path, make):
    file = make.write_embedder(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match="32x16, which the graph fixes"):
        import_model(file, "embed", tmp_path / "b", ImportOptions(size=(64, 32)))


def test_class_of_people_is_asked_for(tmp_path, make):
    outputs = {"o": np.zeros((1, 30, ANCHORS), np.float32)}
    file = make.write_constant_detector(tmp_path / "net.onnx", outputs, size=SIZE)
    with pytest.raises(UsageError, match="--person-class"):
        import_model(file, "detect", tmp_path / "b", ImportOptions())
    with pytest.raises(UsageError, match="0 to 25"):
        import_model(file, "detect", tmp_path / "b", ImportOptions(person_class=26))
    bundle = import_model(file, "detect", tmp_path / "b", ImportOptions(person_class=3))
    assert bundle.manifest.decoder is not None
    assert bundle.manifest.decoder.person_class == 3


def test_network_that_ignores_the_image_is_refused(tmp_path, make):
    outputs = {"e": np.arange(1, 9, dtype=np.float32).reshape(1, 1, 8)}
    file = make.write_constant_detector(tmp_path / "net.onnx", outputs, size=SIZE)
    options = ImportOptions(color="rgb", normalise="unit")
    with pytest.raises(InputError, match="same embedding for different images"):
        import_model(file, "embed", tmp_path / "b", options)


def test_network_that_returns_nan_is_refused(tmp_path, make):
    outputs = one_person("end2end")
    outputs["output0"][0, 4, 2] = np.nan
    file = make.write_constant_detector(tmp_path / "net.onnx", outputs, size=SIZE)
    with pytest.raises(InputError, match="not finite"):
        import_model(file, "detect", tmp_path / "b", ImportOptions())
    assert not (tmp_path / "b").exists()  # a model that does not run is not kept


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.pt", b"x", "not a model file"),
        ("m.onnx", b"", "cannot open"),
        ("m.onnx", b"\x08\x07garbage", "is no ONNX graph"),
        ("m.xml", b"<net/>", "no weights beside it"),
    ],
)
def test_files_that_are_no_graphs(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        import_model(tmp_path / name, "detect", tmp_path / "b", ImportOptions())
    with pytest.raises(InputError, match="there is no file"):
        import_model(tmp_path / "absent.onnx", "detect", tmp_path / "b", ImportOptions())


@pytest.mark.parametrize(
    ("stem", "name"),
    [("YOLOX_Nano", "yolox_nano"), ("é ü", "model"), ("_a b", "a-b"), ("", "model")],
)
def test_names(stem, name):
    assert bundle_name(stem) == name
