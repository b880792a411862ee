"""Transforms and loading: exact values, what masks go through, and repeatable randomness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import data_trees as trees
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from crosscam_deploy.pictures.files import read_image  # noqa: E402
from crosscam_kernels.errors import InputError  # noqa: E402
from crosscam_trainer.data.dataset import NONE, PictureSet, make_loader  # noqa: E402
from crosscam_trainer.data.masks import CLOTHES  # noqa: E402
from crosscam_trainer.data.registry import load  # noqa: E402
from crosscam_trainer.data.samplers import Draws, InOrder, PersonSampler  # noqa: E402
from crosscam_trainer.data.transforms import (  # noqa: E402
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    Preparation,
    for_test,
    for_training,
)
from crosscam_trainer.loop.batches import Batches  # noqa: E402

_NOTHING = Augmentation(flip=0, pad=0, erase=0)


def _image(height: int = 40, width: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_test_transform_resizes_and_normalises() -> None:
    image = _image()
    same, mask = for_test(Preparation(size=(40, 20)))(image)
    expected = (image / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    assert mask is None
    assert same.dtype == torch.float32
    assert type(same) is torch.Tensor
    torch.testing.assert_close(same, torch.tensor(expected).permute(2, 0, 1).float())
    default, _ = for_test()(image)
    assert default.shape == (3, 256, 128)
    assert torch.isfinite(default).all()


def test_shrinking_is_antialiased() -> None:
    """Stripes of one pixel shrink to their mean, not to one of their colours."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    for interpolation in ("bicubic", "bilinear"):
        prep = Preparation((8, 8), interpolation, (0, 0, 0), (1, 1, 1))  # type: ignore[arg-type]
        small, _ = for_test(prep)(stripes)
        assert (small[:, 1:-1] - 0.5).abs().max() < 0.03


@pytest.mark.parametrize("change", ["flip", "pad", "erase", "jitter", "grey"])
def test_each_augmentation_does_its_part(change: str) -> None:
    image, prep = _image(), Preparation(size=(40, 20))
    plain, _ = for_test(prep)(image)
    untouched, _ = for_training(_NOTHING, prep)(image)
    assert torch.equal(untouched, plain)
    torch.manual_seed(0)
    only = replace(_NOTHING, **{change: 10 if change == "pad" else 1.0})
    if change == "jitter":
        only = replace(only, saturation=0.5, hue=0.2)
    changed, _ = for_training(only, prep)(image)
    assert changed.shape == plain.shape
    assert not torch.equal(changed, plain)
    if change == "flip":
        assert torch.equal(changed, plain.flip(2))
    if change == "erase":
        erased = (changed == 0).all(0)
        assert 0.01 < erased.float().mean() < 0.5
        assert torch.equal(changed[:, ~erased], plain[:, ~erased])
        noise, _ = for_training(replace(only, erase_fill="noise"), prep)(image)
        assert not (noise == 0).any()
    if change == "grey":
        back = changed * torch.tensor(IMAGENET_STD)[:, None, None]
        back += torch.tensor(IMAGENET_MEAN)[:, None, None]
        assert (back - back[:1]).abs().max() < 1e-5


def test_masks_move_with_their_pictures() -> None:
    """The mask marks the white pixels: after moving both it still does."""
    image = np.zeros((40, 20, 3), np.uint8)
    image[5:20, 3:9] = 255
    mask = (image[..., 0] > 0).astype(np.uint8)
    prep = Preparation((40, 20), mean=(0.5, 0.5, 0.5), std=(1, 1, 1))
    for seed in range(20):
        torch.manual_seed(seed)
        picture, moved = for_training(Augmentation(erase=0), prep)(image, mask)
        assert moved is not None
        assert moved.dtype == torch.uint8
        assert torch.equal(picture[0] > 0, moved.bool())


def _set(tmp_path: Path, **options: Any) -> tuple[Any, PictureSet]:
    data = load(trees.ltcc(tmp_path))
    train = tuple(sample for sample in data.train for _ in range(3))
    return train, PictureSet(train, for_training(preparation=Preparation((32, 16))), **options)


def _epoch(pictures: PictureSet, sampler: PersonSampler, workers: int = 0) -> list[Any]:
    return list(make_loader(pictures, Draws(sampler), workers))


def _equal(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def test_batches_hold_pictures_and_labels(tmp_path: Path) -> None:
    train, pictures = _set(tmp_path)
    (batch, *_) = _epoch(pictures, PersonSampler([s.person for s in train], 2, 4))
    assert batch["image"].shape == (8, 3, 32, 16)
    for key in ("person", "camera", "clothes", "tracklet", "index"):
        assert batch[key].dtype == torch.int64
    for k, position in enumerate(batch["index"].tolist()):
        sample = train[position]
        assert batch["person"][k] == sample.person
        assert batch["camera"][k] == sample.camera
        assert batch["clothes"][k] == sample.clothes
        assert batch["tracklet"][k] == NONE


def test_augmentation_repeats_whatever_the_workers_ranks_and_interruptions(tmp_path: Path) -> None:
    train, pictures = _set(tmp_path)
    people = [sample.person for sample in train]
    expected = _epoch(pictures, PersonSampler(people, 2, 2, seed=5))
    torch.manual_seed(123)
    assert _equal(_epoch(pictures, PersonSampler(people, 2, 2, seed=5)), expected)
    assert not _equal(_epoch(pictures, PersonSampler(people, 2, 2, seed=6)), expected)

    resumed = PersonSampler(people, 2, 2, seed=5)
    resumed.load_state_dict(PersonSampler(people, 2, 2, seed=5).state_dict(done=2))
    assert _equal(_epoch(pictures, resumed), expected[2:])

    parts = [
        _epoch(pictures, PersonSampler(people, 2, 2, seed=5, rank=rank, world_size=2))
        for rank in range(2)
    ]
    joined = [{key: torch.cat([a[key], b[key]]) for key in a} for a, b in zip(*parts, strict=True)]
    assert _equal(joined, expected)


def test_workers_give_the_same_batches(tmp_path: Path) -> None:
    train, pictures = _set(tmp_path)
    people = [sample.person for sample in train]
    here = _epoch(pictures, PersonSampler(people, 2, 2))
    assert _equal(_epoch(pictures, PersonSampler(people, 2, 2), workers=1), here)


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_that_cannot_be_read_are_told_as_such(workers: int, tmp_path: Path) -> None:
    data = load(trees.ltcc(tmp_path))
    broken = data.gallery[1].path
    broken.write_bytes(b"no picture")
    pictures = PictureSet(data.gallery, for_test(Preparation((24, 12))))
    batches = iter(make_loader(pictures, InOrder(len(pictures), 1), workers))
    assert next(batches)["index"].tolist() == [0]
    with pytest.raises(InputError, match="is not a picture that can be decoded") as caught:
        next(batches)
    assert caught.value.found.startswith(str(broken))
    assert "data check" in caught.value.fix


def test_reading_ahead_changes_no_batch(tmp_path: Path) -> None:
    train, _ = _set(tmp_path)
    people = [sample.person for sample in train]
    change = for_training(preparation=Preparation((32, 16)))

    def batches(workers: int) -> Batches:
        sampler = PersonSampler(people, 2, 2)
        return Batches(train, sampler, "cpu", transform=change, workers=workers)

    plain, ahead = batches(0), batches(1)
    ahead.read_ahead(0, 1)
    assert _equal(list(ahead.epoch(0, 1, further=True)), list(plain.epoch(0, 1)))
    assert _equal(list(ahead.epoch(1, further=True)), list(plain.epoch(1)))
    assert _equal(list(ahead.epoch(5)), list(plain.epoch(5)))  # not the one that is read already


def test_a_picture_that_comes_again_is_augmented_anew_and_randomness_is_left_alone(
    tmp_path: Path,
) -> None:
    _, pictures = _set(tmp_path)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = pictures[0, 1]["image"], pictures[0, 2]["image"]
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert torch.equal(pictures[0, 1]["image"], first)


def test_evaluation_is_in_order(tmp_path: Path) -> None:
    data = load(trees.ltcc(tmp_path))
    pictures = PictureSet(data.gallery, for_test(Preparation((24, 12))))
    batches = list(make_loader(pictures, InOrder(len(pictures), 2)))
    assert [k for b in batches for k in b["index"].tolist()] == [0, 1, 2]
    plain = torch.tensor(read_image(data.gallery[2].path)).permute(2, 0, 1) / 255
    scaled = plain - torch.tensor(IMAGENET_MEAN)[:, None, None]
    scaled /= torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(batches[1]["image"][0], scaled)


def test_clothes_masks_come_along(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"file": "a.png", "camera": "x", "person": "1", "mask": "m/a.png"},
        {"file": "b.png", "camera": "x", "person": "1"},
    ]
    root = trees.site(tmp_path, "global", rows)
    from PIL import Image

    mask = np.zeros((24, 12), np.uint8)
    mask[:12] = 1
    (root / "m").mkdir()
    Image.fromarray(mask).save(root / "m/a.png")
    data = load(root)
    pictures = PictureSet(data.train, for_test(Preparation((48, 24))), CLOTHES)
    (batch,) = list(make_loader(pictures, InOrder(2, 2)))
    assert batch["clothes_mask"].dtype == torch.bool
    assert batch["clothes_mask"][0].float().mean() == 0.5
    assert batch["clothes_mask"][0, :24].all()
    assert not batch["clothes_mask"][1].any()
