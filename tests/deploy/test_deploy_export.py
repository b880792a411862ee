"""Exports for real, with random weights; needs the extras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam_deploy.decode import decode
from crosscam_deploy.preprocess import preprocess
from crosscam_deploy.runtime import available_runtimes, open_runtime
from crosscam_deploy.runtime.onnxruntime_engine import session
from crosscam_kernels.errors import InputError, RunError, UsageError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("family", "kind"), [("yolo26n", "end2end"), ("yolo11n", "yolo_raw"), ("yolov8n", "yolo_raw")]
)
def test_ultralytics(family, kind, tmp_path, monkeypatch):
    pytest.importorskip("ultralytics", reason="needs the extra 'yolo'")
    from crosscam_deploy.export import ultralytics as export

    yolo = export._load_package()
    checkpoint = tmp_path / f"{family}.pt"
    yolo(f"{family}.yaml").save(checkpoint)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    bundle = export.export_ultralytics(checkpoint, tmp_path / "b", image_size=(320, 256))
    assert sorted(p for p in tmp_path.iterdir() if p.name not in ("b", "cache")) == [
        p for p in before if p.name != "cache"
    ]
    manifest = bundle.manifest
    assert manifest.licence == "AGPL-3.0"
    assert manifest.dynamic_batch
    assert manifest.decoder is not None
    assert (manifest.decoder.kind, manifest.decoder.person_class) == (kind, 0)
    images = [np.full((200, 300, 3), value, np.uint8) for value in (0, 90, 180)]
    batch, transforms = preprocess(images, manifest.preprocessing)
    answers = []
    for engine in available_runtimes():
        with open_runtime(bundle, runtime=engine, precision="f32") as runtime:
            assert runtime.max_batch is None
            answers.append(runtime.infer(batch)[0])
        decode([answers[-1]], manifest.decoder, transforms, (320, 256), 0.001)
    if kind == "yolo_raw":
        np.testing.assert_allclose(answers[0], answers[-1], atol=1e-2)


@pytest.mark.parametrize("family", ["yolo11n", "yolov8n"])
def test_fixed_exports_of_ultralytics_are_written_anew(family, tmp_path, monkeypatch):
    """One network exported for two sizes: the first file, written anew, is the second."""
    pytest.importorskip("ultralytics", reason="needs the extra 'yolo'")
    from crosscam_deploy import resize_graph
    from crosscam_deploy.export import ultralytics as export

    monkeypatch.chdir(tmp_path)
    yolo = export._load_package()
    yolo(f"{family}.yaml").save(tmp_path / f"{family}.pt")
    files = {}
    for size in ((320, 256), (192, 384)):
        exported = yolo(tmp_path / f"{family}.pt").export(
            format="onnx", imgsz=list(size), dynamic=False, simplify=False, device="cpu", opset=17
        )
        files[size] = Path(exported).read_bytes()
    written = resize_graph.rewrite(files[320, 256], (320, 256), (192, 384), (8, 16, 32))
    assert written is not None
    image = np.random.default_rng(0).random((1, 3, 192, 384), np.float32)
    expected = session(files[192, 384]).run(None, {"images": image})[0]
    np.testing.assert_allclose(
        session(written).run(None, {"images": image})[0], expected, rtol=1e-5
    )


def test_ultralytics_refuses_what_is_no_detector(tmp_path):
    pytest.importorskip("ultralytics", reason="needs the extra 'yolo'")
    from crosscam_deploy.export import ultralytics as export

    checkpoint = tmp_path / "cls.pt"
    export._load_package()("yolo11n-cls.yaml").save(checkpoint)
    with pytest.raises(InputError, match="a model for 'classify'"):
        export.export_ultralytics(checkpoint, tmp_path / "b")
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RunError, match="failed"):
        export.export_ultralytics(tmp_path / "bad.pt", tmp_path / "c")


@pytest.mark.parametrize("architecture", ["ViT-S-32-alt", "RN50", "MobileCLIP2-S0"])
def test_open_clip(architecture, tmp_path):
    pytest.importorskip("open_clip", reason="needs the extra 'train'")
    from crosscam_deploy.export.open_clip import export_open_clip

    bundle = export_open_clip(f"{architecture}/random", tmp_path / "b")
    manifest = bundle.manifest
    assert manifest.dynamic_batch
    assert (manifest.preprocessing.height, manifest.preprocessing.width) == (256, 128)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(5, 3, 256, 128)).astype(np.float32)
    answers = []
    for engine in available_runtimes():
        with open_runtime(bundle, runtime=engine, precision="f32") as runtime:
            answers.append(runtime.infer(batch)[0])
    np.testing.assert_allclose(np.linalg.norm(answers[0], axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(answers[0], answers[-1], atol=1e-3)


def test_attention_pool_keeps_its_embedding_at_its_own_size():
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    from crosscam_deploy.export.open_clip import _resize_attention_pool

    class Pool:
        positional_embedding = torch.randn(50, 6)

    class Visual:
        attnpool = Pool()

    before = Pool.positional_embedding.clone()
    visual = Visual()
    _resize_attention_pool(torch, visual, (224, 224))
    torch.testing.assert_close(visual.attnpool.positional_embedding.data, before)
    _resize_attention_pool(torch, visual, (448, 224 * 2))
    assert visual.attnpool.positional_embedding.shape == (1 + 14 * 14, 6)
    with pytest.raises(InputError, match="multiples of 32"):
        _resize_attention_pool(torch, visual, (250, 128))


def test_unknown_clip_names(tmp_path):
    pytest.importorskip("open_clip", reason="needs the extra 'train'")
    from crosscam_deploy.export.open_clip import export_open_clip

    with pytest.raises(UsageError, match="no architecture"):
        export_open_clip("ViT-Z-99/openai", tmp_path / "b")
    with pytest.raises(UsageError, match="no weights"):
        export_open_clip("ViT-B-16/nothing", tmp_path / "b")


def weights_of_graph(onnx, torch, file, own):
    """Read a published OSNet graph into our parameter names; its batch norms are folded."""
    graph = onnx.load(file).graph
    arrays = {
        t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer
    }
    weights = {key: value.clone() for key, value in own.items()}
    weights |= {name: array for name, array in arrays.items() if name in own}
    for node in graph.node:
        if node.op_type != "Conv" or not node.input[1].startswith("onnx::"):
            continue
        path = ""
        for part in node.name.strip("/").split("/")[:-1]:  # /conv2/conv2.0/conv1/conv/Conv
            # a part inside a sequence repeats the sequence's name
            steps = path.split(".")
            tails = (i for i in range(len(steps)) if part.startswith(".".join(steps[i:]) + "."))
            keep = steps[: next(tails, len(steps))] if path else []
            path = ".".join([*keep, part])
        module, _, leaf = path.rpartition(".")
        weights[f"{path}.weight"] = arrays[node.input[1]]
        bn = f"{module}.bn"
        assert leaf in ("conv", "conv2")
        weights[f"{bn}.bias"] = arrays[node.input[2]]
        weights[f"{bn}.weight"] = torch.full_like(own[f"{bn}.weight"], (1 + 1e-5) ** 0.5)
        weights[f"{bn}.running_mean"] = torch.zeros_like(own[f"{bn}.running_mean"])
        weights[f"{bn}.running_var"] = torch.ones_like(own[f"{bn}.running_var"])
    return weights


def test_osnet_is_the_network_of_the_published_graph(real_models, tmp_path):
    """The weights of a published graph, in our network, give the graph's embeddings."""
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    import onnx

    from crosscam_deploy.export.osnet import build_osnet, export_osnet
    from crosscam_deploy.runtime.onnxruntime_engine import session
    from crosscam_deploy.zoo import entries

    file = real_models / "osnet_x0_25_msmt17.onnx"
    own = build_osnet(torch, width=0.25).state_dict()
    weights = weights_of_graph(onnx, torch, file, own)
    checkpoint = tmp_path / "osnet.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, checkpoint)
    entry = next(e for e in entries() if e.name == "osnet_x0_25")
    bundle = export_osnet(checkpoint, tmp_path / "osnet_x0_25", entry)
    images = np.random.default_rng(0).normal(size=(3, 3, 256, 128)).astype(np.float32)
    expected = session(file).run(None, {"images": images})[0]
    with open_runtime(bundle, precision="f32") as runtime:
        found = runtime.infer(images)[0]
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_osnet_has_the_size_of_the_paper():
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    from crosscam_deploy.export.osnet import build_osnet

    count = sum(p.numel() for p in build_osnet(torch, width=1.0).parameters())
    assert 2.1e6 < count < 2.3e6  # 2.2 M without classifier


def test_osnet_refuses_other_checkpoints(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    from crosscam_deploy.export.osnet import export_osnet
    from crosscam_deploy.zoo import entries

    entry = next(e for e in entries() if e.name == "osnet_x1_0")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "bytes.pth").write_bytes(b"no checkpoint")
    for name in ("other.pth", "bytes.pth"):
        with pytest.raises(InputError, match="is not an OSNet checkpoint"):
            export_osnet(tmp_path / name, tmp_path / "b", entry)


def test_pictures_without_contrast_do_not_decide_whether_an_export_is_right(tmp_path):
    """What two engines round differently, instance norm makes large where nothing else is."""
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    from crosscam_deploy.export.to_onnx import export_embedder

    class Embedding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3)
            self.norm = torch.nn.InstanceNorm2d(8, eps=1e-12)
            self.last = torch.nn.Conv2d(8, 8, 3)

        def forward(self, images):
            found = self.last(self.norm(self.first(images))).relu()
            return torch.nn.functional.normalize(found.mean((2, 3)))

    torch.manual_seed(0)
    network = Embedding().eval().requires_grad_(requires_grad=False)
    file = tmp_path / "norm.onnx"
    export_embedder(torch, network, (64, 32), file, name="norm")
    opened = session(file)
    flat, drawn = torch.zeros(1, 3, 64, 32), torch.randn(4, 3, 64, 32)
    apart = [np.abs(opened.run(None, {"images": x.numpy()})[0] - network(x).numpy()).max()
             for x in (flat, drawn)]  # fmt: skip
    assert apart[0] > 1e-4 > 1e-5 > apart[1]
