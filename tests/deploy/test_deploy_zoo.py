"""The zoo: the table itself, the order of look-up, raw files under known names, defaults."""

from __future__ import annotations

import shutil
import zipfile

import pytest

from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.paths import packaged_dir
from crosscam_deploy.zoo import (
    best_available,
    entries,
    is_packaged,
    list_models,
    lookup,
    resolve,
)
from crosscam_deploy.zoo.entries import default_order
from crosscam_kernels.errors import InputError, RunError


def test_table_is_complete_and_unambiguous():
    names = [name for e in entries() for name in (e.name, *e.aliases)]
    assert len({name.casefold() for name in names}) == len(names)
    required = {"yolox-nano", "yolox-tiny", "yolox-s", "yolo26n", "yolo26s", "yolo11n", "yolo11s"}
    required |= {"yolov8n", "osnet_x0_25", "osnet_x1_0", "clip:ViT-B-16/openai", "clip:RN50/openai"}
    required |= {f"person-reidentification-retail-0{n}" for n in (277, 286, 287, 288)}
    assert required <= {e.name for e in entries()}
    for entry in entries():
        assert entry.licence
        for variant in entry.variants:
            assert all(f.url is None or f.url.startswith("https://") for f in variant.files)


def test_default_orders_name_entries_of_their_task():
    by_name = {e.name: e for e in entries()}
    for task in ("detect", "embed"):
        assert all(by_name[name].task == task for name in default_order(task))
        assert [by_name[n].packaged for n in default_order(task)].index(True) == (
            len(default_order(task)) - 1
        )  # what comes with crosscam gives way to everything else
    ordered = [by_name[name] for name in default_order("detect")]
    licences = [entry.licence for entry in ordered if not entry.packaged]
    assert licences == sorted(licences, reverse=True)  # Apache before AGPL: permissive first
    assert licences[0] == "Apache-2.0"


def test_nothing_here(tmp_path):
    assert best_available("detect") is None
    assert best_available("embed") is None
    assert all(status.available is None for status in list_models())
    with pytest.raises(InputError, match="is not on this machine") as caught:
        resolve("yolox_nano", download=False)
    assert "crosscam models pull yolox-nano" in caught.value.fix
    with pytest.raises(InputError, match="no model for 'embed'"):
        resolve("reid", download=False)


def test_typo_is_answered_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean yolox-nano"):
        resolve("yolox-nanno")


def test_local_only_model_says_so():
    with pytest.raises(InputError, match=r"put yolov8n_int8\.onnx into a folder"):
        resolve("yolov8n-int8")


def test_path_comes_first_then_models_then_cache(tiny, tmp_path, make, monkeypatch):
    for place, seed in (("models/mine", 1), ("cache/models/mine", 2)):
        file = make.write_embedder(tmp_path / f"{seed}.onnx", seed=seed)
        make.pack_embedder(tmp_path / place, file, name="mine")
    assert resolve(str(tiny.path)) == tiny
    assert resolve("mine").path == tmp_path / "cache/models/mine"
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path / "models"))
    assert resolve("MINE").path == tmp_path / "models/mine"
    status = next(s for s in list_models() if s.name == "mine")
    assert (status.available, status.where) == ("models", tmp_path / "models/mine")


def test_several_folders_in_order(tmp_path, make, monkeypatch):
    for folder, seed in (("a", 1), ("b", 2)):
        file = make.write_embedder(tmp_path / f"{seed}.onnx", seed=seed)
        make.pack_embedder(tmp_path / folder / "x", file, name="mine")
    monkeypatch.setenv("CROSSCAM_MODELS", f"{tmp_path}/none:{tmp_path}/b:{tmp_path}/a")
    assert resolve("mine").path == tmp_path / "b/x"


def test_own_bundle_is_the_best(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny.path, tmp_path / "models" / "site")
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path / "models"))
    best = best_available("embed")
    assert best is not None
    assert best.model_id == tiny.model_id
    assert resolve("reid").model_id == tiny.model_id


def test_damaged_own_bundle_is_skipped_not_fatal(tiny, tmp_path, monkeypatch):
    broken = tmp_path / "models" / "broken"
    shutil.copytree(tiny.path, broken)
    (broken / "tiny.onnx").write_bytes(b"x")
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path / "models"))
    assert best_available("embed") is None
    with pytest.raises(InputError, match="has sha256"):
        resolve("tiny")


def test_raw_file_under_a_known_name(tmp_path, make, monkeypatch):
    """A file of the right name becomes a bundle by its content; another content, another bundle."""
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("CROSSCAM_MODELS", str(models))
    raw = models / "osnet_x0_25_msmt17.onnx"
    ids = []
    for seed in (1, 2, 1):
        raw.unlink(missing_ok=True)
        make.write_embedder(raw, size=(256, 128), seed=seed)
        bundle = resolve("osnet_x0_25", download=False)
        assert bundle.path.parent == tmp_path / "cache" / "imports"
        assert bundle.manifest.preprocessing.color == "rgb"
        ids.append(bundle.model_id)
    assert ids[0] == ids[2] != ids[1]
    assert resolve(str(raw)).model_id == ids[0]


def test_raw_file_comes_before_the_cache(tmp_path, make, monkeypatch):
    cached = make.write_embedder(tmp_path / "c.onnx", size=(256, 128), seed=1)
    target = tmp_path / "cache/models/osnet_x0_25"
    make.pack_embedder(target, cached, size=(256, 128), name="osnet_x0_25")
    assert resolve("osnet_x0_25").path == target
    models = tmp_path / "models"
    models.mkdir()
    make.write_embedder(models / "osnet_x0_25_msmt17.onnx", size=(256, 128), seed=2)
    monkeypatch.setenv("CROSSCAM_MODELS", str(models))
    assert resolve("osnet_x0_25").path.parent.name == "imports"
    status = next(s for s in list_models() if s.name == "osnet_x0_25")
    assert status.available == "models"


def test_damaged_import_is_made_anew(tmp_path, make, monkeypatch):
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("CROSSCAM_MODELS", str(models))
    raw = make.write_embedder(models / "osnet_x0_25_msmt17.onnx", size=(256, 128))
    content = raw.read_bytes()
    first = resolve("osnet_x0_25")
    first.model_path.unlink()
    first.model_path.write_bytes(b"damaged")
    again = resolve("osnet_x0_25")
    assert again == first
    assert again.model_path.read_bytes() == content


def test_raw_file_that_is_not_a_model(tmp_path, monkeypatch):
    models = tmp_path / "models"
    models.mkdir()
    (models / "yolox_nano.onnx").write_bytes(b"<html>404</html>")
    monkeypatch.setenv("CROSSCAM_MODELS", str(models))
    with pytest.raises(InputError, match=r"yolox_nano\.onnx is no ONNX graph"):
        resolve("yolox-nano")
    assert best_available("detect") is None


def test_plain_unknown_file_asks_for_import(tmp_path, make):
    file = make.write_embedder(tmp_path / "mine.onnx")
    with pytest.raises(InputError, match="does not say how images") as caught:
        resolve(str(file))
    assert "crosscam models import" in caught.value.fix


def test_zip_by_path(tiny, tmp_path):
    archive = tmp_path / "tiny.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in tiny.path.iterdir():
            out.write(file, file.name)
    assert resolve(str(archive)).model_id == tiny.model_id


def test_downloaded_model_becomes_a_bundle_in_the_cache(tmp_path, make, monkeypatch):
    source = make.write_embedder(tmp_path / "served.onnx", size=(256, 128))
    fetched = []

    def fake_fetch(file, target, *, progress):
        fetched.append((file.url, progress))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target

    monkeypatch.setattr("crosscam_deploy.zoo.download.fetch", fake_fetch)
    bundle = resolve("osnet-x0.25", progress=False)
    assert bundle.path == tmp_path / "cache" / "models" / "osnet_x0_25"
    assert fetched[0][1] is False
    assert resolve("osnet_x0_25").path == bundle.path
    assert len(fetched) == 1
    best = best_available("embed")
    assert best is not None
    assert best.manifest.name == "osnet_x0_25"
    bundle.model_path.unlink()
    bundle.model_path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="has sha256"):
        resolve("osnet_x0_25", download=False)
    assert resolve("osnet_x0_25").model_id == bundle.model_id  # had again
    assert len(fetched) == 2


def test_missing_extra_is_named(monkeypatch):
    import builtins

    from crosscam_kernels.errors import MissingExtraError

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] in ("ultralytics", "open_clip", "torch"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"crosscam\[yolo\]"):
        resolve("yolo26n")
    with pytest.raises(MissingExtraError, match=r"crosscam\[train\]"):
        resolve("clip:ViT-B-16/openai")


def test_any_clip_name_is_understood():
    entry = lookup._find_entry("clip:ViT-L-14/some path.pt")
    assert entry is not None
    assert entry.export is not None
    assert entry.export.checkpoint == "ViT-L-14/some path.pt"
    assert lookup._bundle_name(entry) == "clip-vit-l-14-some-path.pt"


def test_zipped_bundle_in_a_model_folder(tiny, tmp_path, monkeypatch):
    models = tmp_path / "models"
    models.mkdir()
    with zipfile.ZipFile(models / "any name.zip", "w") as out:
        for file in tiny.path.iterdir():
            out.write(file, file.name)
    (models / "holiday.zip").write_bytes(b"not a zip")
    monkeypatch.setenv("CROSSCAM_MODELS", str(models))
    assert resolve("tiny").model_id == tiny.model_id
    best = best_available("embed")
    assert best is not None
    assert best.model_id == tiny.model_id


def test_example_of_the_guide_is_a_valid_manifest():
    from pathlib import Path

    from crosscam_deploy.bundle import parse_manifest

    guide = Path(__file__).parents[2] / "docs" / "guides" / "models.md"
    example = guide.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0]
    example = example.replace("<sha256>", "0" * 64)
    manifest = parse_manifest(example, origin="guide")
    entry = next(e for e in entries() if e.name == "yolox-nano")
    assert manifest.preprocessing == entry.preprocessing
    assert manifest.decoder == entry.decoder


def test_guide_names_every_entry():
    from pathlib import Path

    guide = Path(__file__).parents[2] / "docs" / "guides" / "models.md"
    text = guide.read_text(encoding="utf-8")
    for entry in entries():
        short = entry.name.removeprefix("person-reidentification-retail-")
        if not entry.name.startswith("clip:MobileCLIP"):
            assert short in text


def test_what_comes_with_crosscam_gives_way_to_everything_else(tmp_path, make, monkeypatch):
    file = make.write_embedder(tmp_path / "own.onnx")
    folder = tmp_path / "packaged" / "crosscam-reid"
    make.pack_embedder(folder, file, name="crosscam-reid")

    def offline(*_, **__):
        raise RunError("no network")

    monkeypatch.setattr("crosscam_deploy.zoo.download.fetch", offline)
    assert best_available("embed").path == folder
    assert best_available("embed", packaged=False) is None
    status = next(s for s in list_models() if s.name == "crosscam-reid")
    assert (status.available, status.where) == ("package", folder)
    for name in ("crosscam-reid", "reid"):
        assert is_packaged(resolve(name))
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path / "models"))
    make.pack_embedder(tmp_path / "models" / "mine", file, name="mine")
    assert resolve("reid").manifest.name == "mine"


def test_a_missing_packaged_model_says_so():
    with pytest.raises(InputError, match="comes with crosscam, is missing"):
        resolve("crosscam-reid")


@pytest.mark.parametrize("entry", [e for e in entries() if e.packaged], ids=lambda e: e.name)
def test_packaged_models_are_whole(entry):
    bundle = load_bundle(packaged_dir() / entry.name)
    assert bundle.manifest.task == entry.task
    assert bundle.manifest.licence == entry.licence == "Apache-2.0"
    assert b"stack_trace" not in (bundle.path / bundle.manifest.model_file).read_bytes()
    assert (packaged_dir() / f"{entry.name}.card.md").is_file()


def test_packaged_models_are_small_and_say_nothing_of_machines():
    files = [file for file in packaged_dir().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 12e6
    texts = [f.read_text(encoding="utf-8") for f in files if f.suffix in (".md", ".json")]
    assert len(texts) >= 5
    assert not any("path: /" in text or "home/" in text for text in texts)
