from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from crosscam_deploy.runtime import openvino_engine
from crosscam_edge.detect import choose_detector
from crosscam_edge.embed.select import choose_embedder
from crosscam_kernels.errors import CrosscamError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle


def test_without_models_and_network_the_built_in_ones_step_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path))
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))

    def offline(*_: object, **__: object) -> None:
        raise CrosscamError("no network")

    monkeypatch.setattr("crosscam_deploy.zoo.resolve", offline)
    detector, why = choose_detector(None, min_confidence=0.1)
    assert detector.name == "motion"
    assert "crosscam models pull" in why
    embedder, why = choose_embedder(None)
    assert embedder.name == "colour"
    assert "crosscam models pull" in why


def test_without_a_network_what_comes_with_crosscam_steps_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path))
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))

    def offline(*_: object, **__: object) -> None:
        raise CrosscamError("no network")

    monkeypatch.setattr("crosscam_deploy.zoo.download.fetch", offline)
    embedder, why = choose_embedder(None)
    assert embedder.name == "crosscam-reid"
    assert "comes with crosscam" in why
    assert "crosscam models pull" in why


def test_an_unknown_name_is_an_error_and_not_a_fallback() -> None:
    with pytest.raises(InputError, match="no-such-model"):
        choose_detector("no-such-model", min_confidence=0.1)
    with pytest.raises(InputError, match="no-such-model"):
        choose_embedder("no-such-model")


def test_real_models_find_and_tell_apart(assets: Path) -> None:
    with av.open(str(assets / "videos/vtest.avi")) as container:
        image = next(container.decode(video=0)).to_ndarray(format="bgr24")
    with pytest.raises(InputError, match="does not detect"):
        choose_detector("person-reidentification-retail-0287", min_confidence=0.3)
    detector, _ = choose_detector("yolox-nano", min_confidence=0.3)
    found = detector.detect([image])[0]
    assert 4 <= len(found) <= 12
    embedder, _ = choose_embedder("person-reidentification-retail-0287")
    rows = embedder.embed(image, found.xyxy)
    assert rows.shape == (len(found), embedder.dim)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    outside = np.array([[-50.0, -50.0, -10.0, -5.0]])
    assert not embedder.embed(image, outside).any()
    assert embedder.unusable == 1
    detector.close()
    embedder.close()


def test_only_the_engine_that_is_used_is_compiled(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    compile_graph = openvino_engine.compiled_graph

    def noted(bundle: Bundle, size: tuple[int, int], properties: dict[str, Any]) -> Any:
        sizes.append(size)
        return compile_graph(bundle, size, properties)

    monkeypatch.setattr(openvino_engine, "compiled_graph", noted)
    detector, _ = choose_detector("yolox-nano", min_confidence=0.3)
    assert detector.runtime.name == "openvino"
    assert detector.runtime.precision in ("f32", "bf16", "f16")
    assert sizes == []
    detector.detect([np.zeros((480, 640, 3), np.uint8)])
    assert sizes == [(480, 640)]
    detector.close()
