"""CCAFL as a method: its labels, its association of cameras, and its training."""

from __future__ import annotations

from copy import deepcopy

import pytest

torch = pytest.importorskip("torch")

import method_runs as runs  # noqa: E402
from ccafl_parts import (  # noqa: E402
    method,
    stage_of,
    unit_rows,
)

from crosscam_kernels.errors import InputError  # noqa: E402
from crosscam_trainer.methods import ccafl  # noqa: E402
from crosscam_trainer.methods.base import Extracted  # noqa: E402
from crosscam_trainer.methods.ical import ICALOptions  # noqa: E402
from crosscam_trainer.methods.icdl import ICDLOptions  # noqa: E402
from crosscam_trainer.methods.labels import (  # noqa: E402
    train_labels,
    unit,
    without_camera_means,
)
from crosscam_trainer.methods.prompts_stage import PromptOptions  # noqa: E402

torch.set_num_threads(1)
SHORT = {
    "epochs": 14,
    "intra": ICDLOptions(epochs=5, slots=4),
    "ical": ICALOptions(adv_window=(8, 12)),
}


def test_global_labels_are_contiguous_and_summed_over_cameras() -> None:
    run = runs.PlainRun(runs.Pictures(people=5, cameras=3, intra=True))
    labels = train_labels(run.data, "cpu")
    assert labels.people == 15
    assert labels.person.unique().tolist() == list(range(15))
    assert labels.camera_of.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert torch.equal(labels.camera_of[labels.person], labels.camera)


def test_features_without_camera_means_forget_what_a_camera_adds() -> None:
    rows, cameras = unit(unit_rows(8, 4)), torch.tensor([0, 0, 3, 3, 3, 0, 7, 7])
    found = without_camera_means(5 * rows, cameras)
    for camera in (0, 3, 7):
        inside = cameras == camera
        torch.testing.assert_close(found[inside].mean(0), torch.zeros(4).to(found))
        torch.testing.assert_close(
            found[inside] - found[inside][0], (rows - rows[inside][0])[inside]
        )


def test_centred_association_bridges_cameras_that_look_different() -> None:
    """Two cameras add one vector to everybody's, the third another: their closest pairs are all."""
    run = runs.PlainRun(runs.Pictures(people=8, cameras=3, intra=True))
    person, camera = (torch.tensor(run.pictures.truth)[:, k] for k in (0, 1))
    features = torch.eye(24)[person] + 2 * torch.eye(24)[20 + camera // 2]
    recall = []
    for centre in (False, True):
        options = ccafl.AssociationOptions(rate=1.0, centre=centre)
        stage = stage_of(run, association=options)
        stage.texts = torch.zeros(stage.labels.people, 12)
        stage.remember(
            run, 9, Extracted(features + 0.05 * unit_rows(*features.shape).float(), features)
        )
        recall.append(run.notes[-1]["pair_recall"])
    assert recall[0] < 0.5
    assert recall[1] > 0.9


def test_inference_never_touches_the_text_encoder() -> None:
    run = runs.PlainRun(runs.Pictures(intra=True))
    run.text = None
    assert run.model.eval().embed(run.pictures.images[:2]).shape == (2, 24)


def test_training_lowers_losses_and_finds_people_across_cameras() -> None:
    pictures = runs.Pictures(people=8, cameras=3, cast=0.35, intra=True)
    run = runs.PlainRun(pictures)
    start, _ = run.figures()
    history = run.train(method(prompts=PromptOptions(epochs=20, batch=96), **SHORT))
    end, _ = run.figures()
    assert end > start + 0.05
    prompts, epochs = history["prompts"], history["camera-agnostic"]
    assert prompts[-1]["i2t"] + prompts[-1]["t2i"] < prompts[0]["i2t"] + prompts[0]["t2i"]
    assert epochs[4]["intra1"] < epochs[0]["intra1"]
    assert epochs[4]["intra2"] < epochs[0]["intra2"]
    assert epochs[-1]["ipcl"] < epochs[5]["ipcl"]
    assert epochs[-1]["gid"] < epochs[0]["gid"]
    assert [e for e, losses in enumerate(epochs) if "ical" in losses] == [8, 9, 10, 11]
    assert [e for e, losses in enumerate(epochs) if "intra1" in losses] == [0, 1, 2, 3, 4]
    assert run.notes[-1]["pair_precision"] > 0.3
    assert set(run.notes[-1]) >= {"identities", "labels_paired", "pair_recall"}


@pytest.mark.parametrize("epoch", [0, 9])
def test_a_stage_continues_from_its_state(epoch: int) -> None:
    """Mid-epoch: a second stage with the first one's state takes the same next step."""

    def begun() -> tuple[runs.PlainRun, ccafl.CameraAgnosticStage, list[list[int]]]:
        run = runs.PlainRun(runs.Pictures(intra=True))
        stage = stage_of(run, **SHORT)
        return run, stage, list(stage.sampler(rank=0, world_size=1))

    run, stage, batches = begun()
    stage.begin(run)
    run.prepare(stage)
    stage.begin_epoch(run, epoch)
    run.model.train()
    stage.step(run, run.batch(stage, batches[0]), epoch)
    saved = {k: v.clone() for k, v in stage.state_dict().items()}
    model = {k: v.clone() for k, v in run.model.state_dict().items()}
    classifier = {k: v.clone() for k, v in stage.classifier.state_dict().items()}
    optimisers = [o.state_dict() for o in run.optimisers.values()]

    other_run, other, _ = begun()
    other_run.model.load_state_dict(model)
    other.classifier.load_state_dict(classifier)
    other.load_state_dict(saved)
    other_run.prepare(other)
    other_run.model.train()
    for optimiser, state in zip(other_run.optimisers.values(), optimisers, strict=True):
        optimiser.load_state_dict(deepcopy(state))
    expected = stage.step(run, run.batch(stage, batches[1]), epoch)
    found = other.step(other_run, other_run.batch(other, batches[1]), epoch)
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name])
    for name, value in stage.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for ours, theirs in zip(
        other_run.model.state_dict().values(), run.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_an_epoch_without_pairs_learns_inside_cameras() -> None:
    run = runs.PlainRun(runs.Pictures(intra=True))
    stage = stage_of(run, association=ccafl.AssociationOptions(rate=0.0))
    stage.begin(run)
    run.prepare(stage)
    stage.begin_epoch(run, 50)
    index = next(iter(stage.sampler(rank=0, world_size=1)))
    assert "intra1" in stage.step(run, run.batch(stage, index), 50)


def test_check_names_what_is_missing() -> None:
    with pytest.raises(InputError, match=r"data\.labels=intra"):
        method().check(runs.Pictures().data)
    with pytest.raises(InputError, match=r"1 camera\(s\)"):
        method().check(runs.Pictures(cameras=1, intra=True).data)
    run = runs.PlainRun(runs.Pictures(intra=True))
    run.text = None
    with pytest.raises(InputError, match="no text tower"):
        method().stages(run)
