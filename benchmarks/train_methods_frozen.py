"""Generated people for `train_methods_quick.py`: a frozen CLIP sees them, a small head learns.

Pictures are those of `train_methods_people.py`, people before cameras of strong, known colour
differences. The image tower of a CLIP turns each, its shielding image and its clothes alone into
the pooled features of its last two stages, once. What methods train is a head over them: a residual
layer pair, the tower's own projection into the space of texts, and the BN necks.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from train_methods_clip import pretrain
from train_methods_memory import Kept
from train_methods_people import HEIGHT, SETS, TRAINED, WIDTH, make

from crosscam_deploy.hashing import sha256_file
from crosscam_trainer.data import load
from crosscam_trainer.data.masks import LIP
from crosscam_trainer.loop.devices import World
from crosscam_trainer.loop.extract import extract
from crosscam_trainer.models.build import Built, build_model
from crosscam_trainer.models.reid import ReIDModel
from crosscam_trainer.models.types import TowerFeatures
from crosscam_trainer.recipe import ModelRecipe

KIND = "generated"
TOWER = "crosscam-ibn"
_HIDDEN = 512


class Pooled(nn.Module):
    """A tower whose joint feature is the pooled maps of the last stage and of the one before."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.final_dim = tower.final_dim
        self.joint_dim = tower.final_dim + tower.previous_dim

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`."""
        found: TowerFeatures = self.tower(images)
        return found._replace(joint=torch.cat([found.final, found.previous], 1))


class Head(nn.Module):
    """An image tower over rows of `Pooled`.

    Args:
        tower: Whose rows; its projection is copied.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.previous_dim, self.final_dim = tower.previous_dim, tower.final_dim
        self.joint_dim = tower.joint_dim
        self.inner = nn.Linear(self.final_dim, _HIDDEN)
        self.outer = nn.Linear(_HIDDEN, self.final_dim)
        nn.init.zeros_(self.outer.weight)  # begins as what the tower says
        nn.init.zeros_(self.outer.bias)
        self.projection = copy.deepcopy(tower.visual.head).requires_grad_(True)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`."""
        seen, previous = images.split([self.final_dim, self.previous_dim], 1)
        final = seen + self.outer(self.inner(seen).relu())
        return TowerFeatures(previous, final[:, :, None, None], final, self.projection(final))


def frozen_sets(wanted: tuple[str, ...], work: Path, weights: Path | None) -> dict[str, Kept]:
    """Make sets.

    Args:
        wanted: Beginnings of their names.
        work: Folder of pictures and features; what is there already is kept.
        weights: Of a CLIP with `TOWER`; None trains one on the captions of the other set.
    """
    by_outfits = {config.outfits: config for config in SETS.values()}
    found = {}
    for name, config in SETS.items():
        if not f"{KIND}, {name}".startswith(wanted):
            continue
        folder = work / f"people-{config.outfits}"
        make(config, folder, people=TRAINED)
        file = weights
        if file is None:
            other = by_outfits[3 - config.outfits]
            file = work / f"clip-{other.outfits}.safetensors"
            if not file.exists():
                captions = work / f"captions-{other.outfits}"
                make(other, captions, mixed=True)
                pretrain(captions, ModelRecipe(tower=TOWER, size=(HEIGHT, WIDTH)), file, 25)
        found[f"{KIND}, {name}"] = _kept(folder, file, config.outfits)
    return found


def _kept(folder: Path, weights: Path, outfits: int) -> Kept:
    sha256 = sha256_file(weights)
    recipe = ModelRecipe(tower=TOWER, size=(HEIGHT, WIDTH), weights=str(weights))
    built = build_model(recipe)
    data = load(folder, "simulated")
    unique = {s.path: s for s in (*data.query, *data.gallery)}
    file = folder.with_name(f"{folder.name}-{sha256[:12]}.safetensors")
    if not file.exists():
        needed = ("image", "shielded", "clothes") if outfits > 1 else ("image",)
        train = {images: _rows(built, data.train, images) for images in needed}
        save_file(train | {"test": _rows(built, tuple(unique.values()), "image")}, file)
    rows = load_file(file)
    test = dict(zip(unique, rows.pop("test"), strict=True))

    def first() -> tuple[Any, Any]:
        model = ReIDModel(Head(built.model.tower), pooling="own")
        with torch.no_grad():  # necks begin with the statistics of what they are given
            plain = model.eval()(rows["image"])
            for neck, given in ((model.final_neck, plain.final), (model.joint_neck, plain.joint)):
                neck.running_mean.copy_(given.mean(0))
                neck.running_var.copy_(given.var(0))
        return model, built.text

    about = {"kind": "generated", "outfits": outfits, "people": data.train_people}
    sizes = {"train": len(data.train), "test": len(unique)}
    return Kept(data, rows, test, first, about | sizes | {"tower": TOWER, "weights_sha256": sha256})


def _rows(built: Built, samples: Any, images: str) -> Tensor:
    model = ReIDModel(Pooled(built.model.tower), pooling="own")
    world = World(torch.device("cpu"), half=None)
    found = extract(model, samples, built.preparation, world, images=images, mask_labels=LIP)
    return found.joint
