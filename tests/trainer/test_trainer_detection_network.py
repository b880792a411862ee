"""Cells, losses, and the way from network to edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from detection_parts import tiny_recipe  # noqa: E402

from crosscam_deploy.bundle import load_bundle  # noqa: E402
from crosscam_deploy.decode import decode, grid_size  # noqa: E402
from crosscam_deploy.preprocess import LetterboxTransform  # noqa: E402
from crosscam_deploy.runtime import open_runtime  # noqa: E402
from crosscam_edge.detect import ModelDetector  # noqa: E402
from crosscam_edge.track.config import TrackerConfig  # noqa: E402
from crosscam_trainer.detection.cells import assign, boxes_of, cells_of, detect  # noqa: E402
from crosscam_trainer.detection.export import TRUSTED, bend_of, export_detector  # noqa: E402
from crosscam_trainer.detection.judging import DECODER, find  # noqa: E402
from crosscam_trainer.detection.losses import losses  # noqa: E402
from crosscam_trainer.detection.network import PersonDetector, Raw, Rows  # noqa: E402
from crosscam_trainer.detection.recipe import STRIDES, DetectorLosses  # noqa: E402
from crosscam_trainer.detection.samples import normalised  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (64, 96)
FIGURES = {"ap50": 0.25, "sure": 0.35}


def network(folder: Path, seed: int = 0) -> PersonDetector:
    torch.manual_seed(seed)
    return PersonDetector(tiny_recipe(folder).network)


def sharpened(model: PersonDetector) -> PersonDetector:
    """Give the outputs of a network that has learnt nothing a wide range."""
    with torch.no_grad():
        for layer, spread in ((model.person, 2.0), (model.box, 0.3)):
            layer.weight.normal_(0, spread)
        model.person.bias.zero_()
    return model.eval()


def test_cells_are_those_of_the_decoder() -> None:
    cells = cells_of(SIZE)
    assert len(cells.stride) == grid_size(SIZE, STRIDES) == 96 + 24 + 6
    assert cells.corner[13].tolist() == [8.0, 8.0]
    assert cells.centre[96 + 7].tolist() == [24.0, 24.0]
    assert cells.stride[[0, 96, 120]].tolist() == [8.0, 16.0, 32.0]


def test_somebody_belongs_to_cells_around_the_middle_of_the_levels_of_that_height() -> None:
    cells = cells_of(SIZE)
    box = torch.tensor([[30.0, 10.0, 50.0, 40.0]])  # 30 pixels tall, its middle at 40, 25
    targets = assign(box, torch.tensor([False]), cells)
    mine = targets.positive
    assert set(cells.stride[mine].tolist()) == {8.0}
    assert sorted(map(tuple, cells.centre[mine].tolist())) == [
        (x, y) for x in (36.0, 44.0) for y in (20.0, 28.0, 36.0)
    ]
    assert targets.asked.all()


def test_the_smallest_have_a_cell_and_the_smaller_of_two_has_the_shared_ones() -> None:
    cells = cells_of(SIZE)
    speck = torch.tensor([[41.0, 41.0, 43.0, 46.0]])
    assert assign(speck, torch.tensor([False]), cells).positive.sum() == 1
    both = torch.tensor([[20.0, 4.0, 60.0, 60.0], [36.0, 24.0, 44.0, 40.0]])
    at = assign(both, torch.tensor([False, False]), cells).person
    inside = (cells.corner == torch.tensor([40.0, 32.0])).all(1) & (cells.stride == 8)
    assert at[inside].tolist() == [1]
    assert (at == 0).any()


def test_nothing_is_asked_inside_of_people_who_are_ignored() -> None:
    cells = cells_of(SIZE)
    boxes = torch.tensor([[0.0, 0.0, 48.0, 64.0], [20.0, 10.0, 40.0, 40.0]])
    targets = assign(boxes, torch.tensor([True, False]), cells)
    assert (targets.person == 1).any()
    assert not (targets.person == 0).any()
    skipped = cells.centre[~targets.asked]
    assert len(skipped)
    assert (skipped[:, 0] < 48).all()
    assert assign(boxes[:0], torch.zeros(0, dtype=torch.bool), cells).asked.all()


def test_a_perfect_answer_costs_nearly_nothing() -> None:
    cells = cells_of(SIZE)
    boxes, ignored = torch.tensor([[30.0, 10.0, 50.0, 40.0]]), torch.tensor([False])
    targets = assign(boxes, ignored, cells)
    sure = torch.where(targets.positive, 20.0, -20.0)[None]
    stride = cells.stride[:, None]
    middle = (boxes[0, :2] + boxes[0, 2:]) / 2
    code = torch.cat(
        [(middle - cells.corner) / stride, (torch.tensor([20.0, 30.0]) / stride).log()], 1
    )
    torch.testing.assert_close(boxes_of(code, cells)[0], boxes[0])
    raw = Raw(sure, torch.full_like(sure, 20.0), code[None])
    found = losses(raw, [(boxes, ignored)], SIZE, DetectorLosses())
    assert set(found) == {"person", "box", "quality"}
    assert all(float(value) < 1e-3 for value in found.values())
    moved = raw._replace(box=raw.box + torch.tensor([1.0, 0, 0, 0]))
    assert float(losses(moved, [(boxes, ignored)], SIZE, DetectorLosses())["box"]) > 0.5


def test_nobody_in_a_batch(tmp_path: Path) -> None:
    raw = network(tmp_path)(torch.zeros(2, 3, *SIZE))
    nobody = torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool)
    found = losses(raw, [nobody, nobody], SIZE, DetectorLosses())
    assert found["box"] == found["quality"] == 0
    sum(found.values()).backward()


def test_losses_fall_on_one_batch_and_its_people_are_found(tmp_path: Path) -> None:
    model = network(tmp_path)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 60, (2, 3, *SIZE), generator=generator, dtype=torch.uint8)
    truth = []
    for k, (x, y) in enumerate([(12, 8), (60, 20)]):
        images[k, :, y : y + 36, x : x + 14] = torch.tensor([230, 120, 40])[:, None, None]
        truth.append((torch.tensor([[x, y, x + 14.0, y + 36.0]]), torch.tensor([False])))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    totals = []
    for _ in range(60):
        parts = losses(model(normalised(images)), truth, SIZE, DetectorLosses())
        total = sum(parts.values())
        totals.append(float(total.detach()))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert totals[-1] < 0.2 * totals[0]
    found = detect(model(normalised(images)), SIZE, least=0.3)
    for (boxes, _), (wanted, _) in zip(found, truth, strict=True):
        assert (boxes[0] - wanted[0]).abs().max() < 4


def test_what_the_edge_decodes_is_what_the_network_says(tmp_path: Path) -> None:
    model = sharpened(network(tmp_path))
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = Rows(model)(images).numpy()
        own = detect(model(images), SIZE, least=0.3, overlap=DECODER.nms_iou)
    still = [LetterboxTransform(1.0, 1.0)] * 2
    for edge, (boxes, scores) in zip(decode([rows], DECODER, still, SIZE, 0.3), own, strict=True):
        assert len(edge) == len(boxes) > 3
        np.testing.assert_allclose(edge.xyxy, boxes.numpy(), atol=1e-3)
        np.testing.assert_allclose(edge.confidence, scores.numpy(), atol=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.45, 0.7])
def test_bent_scores_are_trusted_where_they_should_be_and_keep_their_order(
    tmp_path: Path, threshold: float
) -> None:
    model = sharpened(network(tmp_path))
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = Rows(model)(images)[..., 4:].prod(-1).flatten()
        bent = Rows(model, bend_of(threshold))(images)[..., 4:].prod(-1).flatten()
    assert threshold ** bend_of(threshold) == pytest.approx(TRUSTED)
    torch.testing.assert_close(bent, plain ** bend_of(threshold))
    order = plain.argsort()
    assert (bent[order].diff() > -1e-6).all()


@pytest.mark.parametrize("threshold", [0.0, 1.0, float("inf"), float("nan"), -1.0])
def test_a_threshold_that_says_nothing_bends_nothing(threshold: float) -> None:
    assert bend_of(threshold) == 1.0


def test_the_edge_trusts_what_the_export_does() -> None:
    assert TrackerConfig().high_confidence == TRUSTED


def test_scores_are_never_bent_beyond_use() -> None:
    assert 0.3 < bend_of(1e-9) < 1 < bend_of(1 - 1e-9) < 3.1


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[PersonDetector, Path]:
    folder = tmp_path_factory.mktemp("detector")
    model = sharpened(network(folder))
    bundle = export_detector(model, tiny_recipe(folder), folder / "last.bundle", FIGURES)
    return model, bundle.path


def test_the_bundle_finds_in_the_edge_what_the_network_finds(
    exported: tuple[PersonDetector, Path],
) -> None:
    model, path = exported
    bundle = load_bundle(path)
    assert bundle.manifest.dynamic_batch
    assert bundle.manifest.accuracy == pytest.approx({"ap50": 0.25, "sure": TRUSTED})
    detector = ModelDetector(
        open_runtime(bundle, runtime="onnxruntime", precision="f32"),
        0.3,
        reopen=lambda size: open_runtime(
            bundle, runtime="onnxruntime", precision="f32", input_size=size
        ),
    )
    rng = np.random.default_rng(0)
    pictures = [  # of the published shape, and of another
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((96, 160, 3), (120, 120, 3))
    ]
    for picture, edge in zip(pictures, detector.detect(pictures), strict=True):
        with torch.no_grad():
            boxes, scores = find(model, np.ascontiguousarray(picture[..., ::-1]), 160)
        scores = scores ** bend_of(FIGURES["sure"])
        sure = scores >= 0.3
        assert len(edge) == sure.sum() > 3
        np.testing.assert_allclose(edge.confidence, scores[sure], atol=1e-4)
        np.testing.assert_allclose(edge.xyxy, boxes[sure], atol=0.02)
    detector.close()


def test_openvino_takes_the_bundle_at_any_shape(exported: tuple[PersonDetector, Path]) -> None:
    pytest.importorskip("openvino")
    bundle = load_bundle(exported[1])
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 192)).astype(np.float32)
    answers = []
    for engine in ("openvino", "onnxruntime"):
        with open_runtime(bundle, runtime=engine, precision="f32", input_size=(64, 192)) as opened:
            answers.append(opened.infer(images)[0])
    np.testing.assert_allclose(*answers, atol=1e-3)


def test_the_card_tells_licence_data_and_figures(exported: tuple[PersonDetector, Path]) -> None:
    text = exported[1].with_name("last.card.md").read_text()
    assert "| licence of the weights | Apache-2.0 |" in text
    assert "| ap50 | 0.250 |" in text
    assert "| sure | 0.450 |" in text


def test_the_graph_says_nothing_of_the_machine_that_made_it(
    exported: tuple[PersonDetector, Path],
) -> None:
    content = (exported[1] / "model.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert b".py" not in content
