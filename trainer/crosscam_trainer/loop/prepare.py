"""From a recipe to data that can be trained on, and what tells two runs apart."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.data import GenericLayout, PersonSplit, as_intra_camera, load
from crosscam_trainer.data.masks import CLOTHES, LIP, with_masks
from crosscam_trainer.data.scan import relative
from crosscam_trainer.data.silhouette import BOX, with_box_masks

if TYPE_CHECKING:
    from crosscam_trainer.data.masks import LabelSet
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.recipe import Recipe

FREE = (
    "loop.device",
    "loop.devices",
    "loop.workers",
    "loop.keep",
    "loop.checkpoint_minutes",
    "seeds",
    "licence",
    "data.licence",
)
"""Keys of a recipe that may differ when a run is resumed: they do not change what is learned."""


def read_data(recipe: Recipe) -> ReIDData:
    """Read the data of a recipe: labels and masks as it says.

    Raises:
        InputError: It is broken or cannot be trained on.
        UsageError: The recipe asks for more people a batch than there are.
    """
    how = recipe.data
    layout = None
    if how.pattern is not None:
        split = PersonSplit(how.train_share, how.split_seed, how.query, how.query_cameras)
        layout = GenericLayout(how.pattern, split)
    data = load(how.path, how.kind, layout)
    _check_people(data)
    if how.labels == "intra":
        data = as_intra_camera(data)
    if how.masks == BOX:
        data = with_box_masks(data)
    elif how.masks is not None:
        data = with_masks(data, how.masks)
    check_data(data, recipe)
    return data


def check_data(data: ReIDData, recipe: Recipe) -> None:
    """Refuse what cannot be trained on.

    Raises:
        InputError: No training pictures, or of one person only.
        UsageError: Fewer people than a batch has.
    """
    if not data.train:
        raise InputError(
            f"{data.root} has no training pictures",
            expected="a training split",
            fix="look at it with `crosscam data check`; data.train_share divides generic sets",
        )
    _check_people(data)
    if data.train_people < recipe.batch.people:
        raise UsageError(
            f"batch.people is {recipe.batch.people}, but {data.root} has {data.train_people} "
            "people to train on",
            fix=f"batch.people={data.train_people}, and more batch.pictures",
        )


def _check_people(data: ReIDData) -> None:
    """Refuse pictures of one person; before labels of cameras make several of them."""
    if data.train and data.train_people < 2:
        raise InputError(
            f"{data.root} has training pictures of one person only",
            expected="two people or more: a model learns to tell them apart",
            fix="look at it with `crosscam data check`, and at data.pattern and data.train_share",
        )


def judged_on(recipe: Recipe, data: ReIDData) -> Recipe:
    """Return the recipe with the split that models can be judged on: "test" where "val" is empty.

    The recipe that a run keeps says what was done, so the best epoch of a set without validation
    split is one that was chosen on the test split, and every report tells it.
    """
    if recipe.evaluation.split == "test" or (data.val_query and data.val_gallery):
        return recipe
    if not data.query or not data.gallery:
        return recipe
    evaluation = recipe.evaluation.model_copy(update={"split": "test"})
    return recipe.model_copy(update={"evaluation": evaluation})


def mask_labels(recipe: Recipe) -> LabelSet:
    """Return what the numbers in the masks mean."""
    return LIP if recipe.data.mask_labels == "lip" else CLOTHES


def identity(recipe: Recipe, data: ReIDData, seed: int) -> dict[str, Any]:
    """Return what must be the same for a run to be resumed: recipe, data, seed, as JSON values."""
    values = _flat(recipe.model_dump(mode="json"))
    for key in FREE:
        values.pop(key, None)
    digest = hashlib.blake2b(digest_size=16)
    for sample in data.train:
        labels = (sample.person, sample.camera, sample.clothes, sample.tracklet)
        size = sample.path.stat().st_size
        digest.update(f"{relative(sample.path, data.root)}\0{labels}\0{size}\n".encode())
    # Where the pictures are does not matter, as long as they are the same.
    values.pop("data.path", None)
    return {
        "recipe": json.loads(json.dumps(values)),
        "pictures": {"number": len(data.train), "hash": digest.hexdigest()},
        "seed": seed,
    }


def differences(saved: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Say in which ways two identities differ: ``key: saved, now other``."""
    if saved == ours:
        return []
    before, after = saved["recipe"], ours["recipe"]
    found = [
        f"{key} was {before.get(key)!r}, now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if saved["pictures"] != ours["pictures"]:
        counts = (saved["pictures"]["number"], ours["pictures"]["number"])
        same = "the same number, other files or labels"
        what = same if counts[0] == counts[1] else f"{counts[0]} were there, now {counts[1]}"
        found.append(f"the training pictures differ ({what})")
    if saved["seed"] != ours["seed"]:
        found.append(f"the seed was {saved['seed']}, now {ours['seed']}")
    return found


def _flat(values: dict[str, Any], head: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{head}{key}.")
        else:
            found[f"{head}{key}"] = value
    return found
