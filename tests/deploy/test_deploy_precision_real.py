"""Real networks in int8 on real people: what each needs, and that its answers stay."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import crosscam_deploy
from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.precision.calibration import load
from crosscam_deploy.precision.half import store_half, to_half
from crosscam_deploy.precision.loss import lost
from crosscam_deploy.precision.observe import outputs
from crosscam_deploy.precision.search import search
from crosscam_deploy.zoo import resolve

pytestmark = pytest.mark.slow

PACKAGED = Path(crosscam_deploy.__file__).parent / "models" / "crosscam-reid"


@pytest.fixture(scope="module")
def people(assets, tmp_path_factory) -> tuple[list[Path], list[Path]]:
    """Crops of the footage: the people with even numbers, and the others."""
    folder = tmp_path_factory.mktemp("people")
    truth = np.loadtxt(assets / "groundtruth" / "vtest_mot15.txt", delimiter=",", usecols=range(6))
    capture = cv2.VideoCapture(str(assets / "videos" / "vtest.avi"))
    files: tuple[list[Path], list[Path]] = ([], [])
    for number in range(1, 601):
        frame = capture.read()[1]
        if number % 30:
            continue
        for _, person, left, top, width, height in truth[truth[:, 0] == number]:
            y, x = max(round(top), 0), max(round(left), 0)
            file = folder / f"{int(person):03d}-{number}.png"
            crop = frame[y : round(top + height), x : round(left + width)]
            if crop.size and cv2.imwrite(str(file), crop):
                files[int(person) % 2].append(file)
    return files


@pytest.fixture(scope="module")
def frames(assets, tmp_path_factory) -> tuple[list[Path], list[Path]]:
    """Frames of the footage: from its first and from its second half."""
    folder = tmp_path_factory.mktemp("frames")
    capture = cv2.VideoCapture(str(assets / "videos" / "vtest.avi"))
    files = []
    for number in range(640):
        frame = capture.read()[1]
        if number % 20 == 0:
            files.append(folder / f"{number:03d}.png")
            cv2.imwrite(str(files[-1]), frame)
    return files[:16], files[20::3]


def losses(bundle, found, files: list[Path]) -> np.ndarray:
    import onnx

    judged = load(bundle, files)
    names = bundle.manifest.output_names
    was = outputs(onnx.load(bundle.model_path), names, judged.batch)
    return lost(bundle, judged, was, outputs(found.model, names, judged.batch))


def test_the_default_embedder_keeps_its_answers(people):
    bundle = load_bundle(PACKAGED)
    (found,) = search(bundle, load(bundle, people[0]))
    assert found.precision == "int8"
    left = losses(bundle, found, people[1])
    assert left.mean() < 0.004
    assert left.max() < 0.05


@pytest.mark.parametrize("name", ["osnet_x0_25", "0287"])
def test_embedders_keep_their_answers(name, people, real_models, shared_cache, monkeypatch):
    monkeypatch.setenv("CROSSCAM_CACHE", str(shared_cache))
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    bundle = resolve(name, download=False)
    for found in search(bundle, load(bundle, people[0][:32])):
        assert found.loss <= 1
        assert losses(bundle, found, people[1][:32]).mean() < 0.006


def test_a_detector_is_mixed(frames, real_models, shared_cache, monkeypatch):
    monkeypatch.setenv("CROSSCAM_CACHE", str(shared_cache))
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    bundle = resolve("yolox_nano", download=False)
    graphs = search(bundle, load(bundle, frames[0]))
    counts = [len(found.kept) for found in graphs]
    assert counts == sorted(counts)
    for found in graphs:
        assert found.precision == "mixed"
        assert "any zero" in found.words()  # SiLU
        assert min(found.tried.values()) > 1 >= found.loss
        assert 0 < len(found.kept) <= 40
        assert losses(bundle, found, frames[1]).mean() < 0.12


@pytest.mark.parametrize("name", ["crosscam-reid", "osnet_x0_25", "0287", "yolox_nano"])
def test_float16_loses_next_to_nothing(
    name, people, frames, real_models, shared_cache, monkeypatch
):
    import onnx

    monkeypatch.setenv("CROSSCAM_CACHE", str(shared_cache))
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    bundle = load_bundle(PACKAGED) if name == "crosscam-reid" else resolve(name, download=False)
    judged = load(bundle, (people if bundle.manifest.task == "embed" else frames)[1][:16])
    model, names = onnx.load(bundle.model_path), bundle.manifest.output_names
    was = outputs(model, names, judged.batch)
    for made in (to_half(model), store_half(model)):
        onnx.checker.check_model(made, full_check=True)
        assert made.ByteSize() < 0.65 * model.ByteSize()
        assert lost(bundle, judged, was, outputs(made, names, judged.batch)).mean() < 0.01
