"""Painted people for `train_methods_quick.py`: nothing but what methods are about.

A person is hair, face, top and trousers, each of one colour, before a grey wall; a camera adds a
colour of its own to all of it, wall included, so that it *can* be seen through. Hair and face last,
clothes change. A picture is 8 x 4 cells of three colours.

First weights are a small CLIP, trained on words for the four colours of other people before other,
milder cameras: as with the real one, its texts mean something and most of its picture is clothes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from train_methods_memory import Kept

from crosscam_trainer.data.types import EvaluationProtocol, ReIDData, Sample
from crosscam_trainer.models.reid import ReIDModel
from crosscam_trainer.models.types import TowerFeatures

ROWS, COLUMNS = 8, 4
_BODY = slice(1, 3)
_PARTS = (slice(0, 1), slice(1, 2), slice(2, 5), slice(5, 8))  # hair, face, top, trousers
_CLOTHED = 2  # first row
_WALL, _BLACK = 128.0, -2.0

Rng = np.random.Generator


@dataclass(frozen=True)
class Painted:
    """A set of painted people; half of them are tested.

    Attributes:
        people: How many.
        cameras: Everybody is seen by each.
        outfits: Of each person; worn before each camera.
        views: Pictures of each person, camera and outfit.
        cast: Standard deviation of what a camera adds to each colour, grey levels.
        noise: Standard deviation of each cell, grey levels.
        spread: Colours of people are 128 plus or minus this.
        seed: Of everything.
    """

    people: int = 96
    cameras: int = 4
    outfits: int = 1
    views: int = 4
    cast: float = 50.0
    noise: float = 30.0
    spread: float = 70.0
    seed: int = 0

    def colours(self, rng: Rng, *shape: int) -> NDArray[np.float64]:
        """Draw colours of hair, face, top and trousers: `(*shape, 4, 3)`."""
        return rng.uniform(128 - self.spread, 128 + self.spread, (*shape, len(_PARTS), 3))

    def show(self, looks: Any, casts: Any, rng: Rng) -> Tensor:
        """Paint looks `(N, 4, 3)` before cameras with `casts` `(N, 3)`: `(N, 8, 4, 3)`."""
        pictures = np.full((len(looks), ROWS, COLUMNS, 3), _WALL)
        for part, rows in enumerate(_PARTS):
            pictures[:, rows, _BODY] = looks[:, part, None, None]
        pictures += casts[:, None, None] + rng.normal(0, self.noise, pictures.shape)
        return torch.tensor(np.clip(pictures, 0, 255) / 64 + _BLACK, dtype=torch.float32)


CAPTIONED = Painted(people=1500, cameras=8, cast=8.0, noise=15.0, seed=99)


class Cells(nn.Module):
    """An image tower of two layers."""

    previous_dim, final_dim, joint_dim = 128, 64, 32

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(ROWS * COLUMNS * 3, self.previous_dim)
        self.second = nn.Linear(self.previous_dim, self.final_dim)
        self.out = nn.Linear(self.final_dim, self.joint_dim)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """See `ImageTower`."""
        previous = self.first(images.flatten(1)).relu()
        final = self.second(previous)
        return TowerFeatures(previous, final[:, :, None, None], final, self.out(final))


class Words(nn.Module):
    """A text tower of one recurrent layer, over single characters and short words."""

    width, context, joint_dim = 8, 16, 32

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(64, self.width)
        self.reader = nn.GRU(self.width, self.joint_dim, batch_first=True)

    def tokens(self, texts: list[str]) -> Tensor:
        """See `TextTower`."""
        found = torch.zeros(len(texts), self.context, dtype=torch.int64)
        for row, text in zip(found, texts, strict=True):
            numbers = [1, *(3 + sum(map(ord, word)) % 60 for word in text.split()), 2]
            row[: len(numbers)] = torch.tensor(numbers)
        return found

    def embed(self, tokens: Tensor) -> Tensor:
        """See `TextTower`."""
        found: Tensor = self.words(tokens)
        return found

    def forward(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """See `TextTower`."""
        read, _ = self.reader(embedded)
        last = tokens.ne(0).sum(1) - 1
        return torch.as_tensor(3 * read[torch.arange(len(read)), last])


def _named(colour: NDArray[np.float64], spread: float) -> str:
    """One of 27 words for a colour."""
    thirds = np.clip((colour - 128 + spread) / (2 * spread) * 3, 0, 2).astype(int)
    return chr(200 + int(thirds @ (9, 3, 1)))


def pretrain(steps: int = 600, batch: int = 128, rate: float = 3e-3) -> dict[str, Any]:
    """Train image and text tower on words for colours, with CLIP's loss; returns their states."""
    how = CAPTIONED
    rng = np.random.default_rng(how.seed)
    torch.manual_seed(how.seed)
    model, text = ReIDModel(Cells(), pooling="own"), Words()
    looks, casts = how.colours(rng, how.people), rng.normal(0, how.cast, (how.cameras, 3))
    tokens = text.tokens([" ".join(_named(c, how.spread) for c in look) for look in looks])
    scale = nn.Parameter(torch.tensor(math.log(10.0)))
    learned = [p for m in (model, text) for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW([*learned, scale], rate, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1)
    for _ in range(steps):
        who = rng.integers(how.people, size=batch)
        images = how.show(looks[who], casts[rng.integers(how.cameras, size=batch)], rng)
        seen = functional.normalize(model(images).joint, dim=1)
        read = functional.normalize(text(text.embed(tokens[who]), tokens[who]), dim=1)
        logits = scale.exp().clamp(max=100) * seen @ read.T
        right = torch.from_numpy(who[:, None] == who).float()
        right /= right.sum(1, keepdim=True)
        loss = sum(functional.cross_entropy(x, right) for x in (logits, logits.T)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    return {"model": model.state_dict(), "text": text.state_dict()}


def paint(how: Painted, weights: dict[str, Any]) -> Kept:
    """Paint a set.

    Args:
        how: The set.
        weights: Of `pretrain`.
    """
    rng = np.random.default_rng(how.seed)
    half = how.people // 2
    looks = how.colours(rng, how.people, how.outfits)
    looks[..., :_CLOTHED, :] = looks[:, :1, :_CLOTHED]  # hair and face last
    casts = rng.normal(0, how.cast, (how.cameras, 3))
    shape = (how.people, how.cameras, how.outfits, how.views)
    who, where, worn, _ = (axis.ravel() for axis in np.indices(shape))
    pictures = how.show(looks[who, worn], casts[where], rng)
    samples = [
        Sample(
            Path(f"{number}.png"),
            person % half,
            camera,
            (person % half) * how.outfits + outfit if how.outfits > 1 else None,
            mask=Path("painted.png"),
        )
        for number, (person, camera, outfit) in enumerate(
            zip(who.tolist(), where.tolist(), worn.tolist(), strict=True)
        )
    ]
    tested = who >= half
    train = tuple(s for s, t in zip(samples, tested, strict=True) if not t)
    test = tuple(s for s, t in zip(samples, tested, strict=True) if t)
    protocols = [EvaluationProtocol("standard")]
    if how.outfits > 1:
        protocols.append(EvaluationProtocol("clothes-changing", clothes="changed"))
    outfits = half * how.outfits if how.outfits > 1 else 0
    data = ReIDData(
        "painted", Path("painted"), train, test, test,
        tuple(map(str, range(half))), tuple(map(str, range(how.cameras))), tuple(protocols), half,
        tuple(map(str, range(outfits))), outfits,
    )  # fmt: skip
    covered = torch.zeros(ROWS, COLUMNS, 1, dtype=torch.bool)
    covered[_CLOTHED:, _BODY] = True
    images = pictures[torch.from_numpy(~tested)]

    def first() -> tuple[Any, Any]:
        model, text = ReIDModel(Cells(), pooling="own"), Words()
        model.load_state_dict(weights["model"])
        text.load_state_dict(weights["text"])
        return model, text.requires_grad_(False)

    return Kept(
        data,
        {
            "image": images,
            "shielded": images.masked_fill(covered, _BLACK),
            "clothes": images.masked_fill(~covered, _BLACK),
        },
        dict(zip((s.path for s in test), pictures[torch.from_numpy(tested)], strict=True)),
        first,
        {"kind": "painted", **asdict(how)},
    )
