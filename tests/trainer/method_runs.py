"""Small parts to train methods with: pictures of coloured people, towers, and a plain `Run`.

A person is a head of a lasting colour over clothes of a changing one; each camera has a colour cast
of its own. Pictures are tensors of 3×16×8.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crosscam_kernels import retrieval_metrics
from crosscam_trainer.data.relabel import as_intra_camera
from crosscam_trainer.data.types import EvaluationProtocol, ReIDData, Sample
from crosscam_trainer.methods.base import Extracted, Method, Part, Stage
from crosscam_trainer.models.reid import ReIDModel
from crosscam_trainer.models.types import TowerFeatures

HEIGHT, WIDTH = 16, 8
_CLOTHED = slice(5, 16)


class Tower(nn.Module):
    """Two convolutions."""

    previous_dim, final_dim, joint_dim = 16, 24, 12

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, stride=2)
        self.second = nn.Conv2d(16, 24, 3, padding=1, stride=2)
        self.out = nn.Linear(24, 12)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        previous = self.first(images).relu()
        last = self.second(previous).relu()
        pooled = last.mean((2, 3))
        return TowerFeatures(previous.mean((2, 3)), last, pooled, self.out(pooled))


class Text(nn.Module):
    """A text tower of one recurrent layer."""

    width, context, joint_dim = 8, 16, 12

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(64, self.width)
        self.reader = nn.GRU(self.width, self.joint_dim, batch_first=True)
        self.requires_grad_(False)

    def tokens(self, texts: list[str]) -> Tensor:
        found = torch.zeros(len(texts), self.context, dtype=torch.int64)
        for row, text in zip(found, texts, strict=True):
            numbers = [1, *(3 + sum(map(ord, word)) % 60 for word in text.split()), 2]
            row[: len(numbers)] = torch.tensor(numbers)
        return found

    def embed(self, tokens: Tensor) -> Tensor:
        return self.words(tokens)

    def forward(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        read, _ = self.reader(embedded)
        return 3 * read[torch.arange(len(read)), tokens.ne(0).sum(1) - 1]


class Pictures:
    """A generated data set, all of it for training; half of each group is for judging.

    Args:
        people: How many.
        cameras: How many; everybody is seen by each.
        outfits: Of each person; each camera sees every one.
        shots: Pictures of each person, camera and outfit.
        cast: Strength of the cameras' colour casts.
        intra: Forget who is who in other cameras.
    """

    def __init__(
        self,
        people: int = 6,
        cameras: int = 3,
        outfits: int = 1,
        shots: int = 4,
        *,
        cast: float = 0.5,
        intra: bool = False,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        heads = rng.uniform(-1, 1, (people, 3))
        clothes = rng.uniform(-1, 1, (people, outfits, 2, 3))
        casts = rng.uniform(-cast, cast, (cameras, 3))
        gains = 1 + rng.uniform(-cast, cast, (cameras, 3))
        samples, images, self.truth = [], [], []
        for p in range(people):
            for c in range(cameras):
                for o in range(outfits):
                    for _ in range(shots):
                        picture = np.zeros((HEIGHT, WIDTH, 3))
                        picture[:5] = heads[p]
                        picture[5:11] = clothes[p, o, 0]
                        picture[11:] = clothes[p, o, 1]
                        picture = picture * gains[c] + casts[c]
                        picture += rng.normal(0, 0.15, picture.shape)
                        images.append(picture.transpose(2, 0, 1))
                        place = Path(f"{len(samples)}.png")
                        worn = p * outfits + o if outfits > 1 else None
                        samples.append(Sample(place, p, c, worn, tracklet=len(samples) // shots,
                                              mask=place,
                                              caption=f"person {p} in {o}"))  # fmt: skip
                        self.truth.append((p, c, o))
        self.images = torch.tensor(np.array(images), dtype=torch.float32)
        self.masks = torch.zeros(len(images), HEIGHT, WIDTH, dtype=torch.bool)
        self.masks[:, _CLOTHED] = True
        number = people * outfits if outfits > 1 else 0
        data = ReIDData(
            "generated", Path("nowhere"), tuple(samples), (), (),
            tuple(map(str, range(people))), tuple(map(str, range(cameras))),
            (EvaluationProtocol("standard"),), people,
            tuple(map(str, range(number))), number,
        )  # fmt: skip
        self.data = as_intra_camera(data) if intra else data


class PlainRun:
    """`Run` with torch's optimisers, for small data in memory."""

    def __init__(self, pictures: Pictures, seed: int = 0, rate: float = 3e-3) -> None:
        torch.manual_seed(seed)
        self.model = ReIDModel(Tower(), pooling="own")
        self.text: Any = Text()
        self.pictures, self.data, self.seed, self.rate = pictures, pictures.data, seed, rate
        self.device: Any = torch.device("cpu")
        self.notes: list[dict[str, float]] = []
        self.parts: dict[str, Part] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    def shown(self, images: str) -> Tensor:
        worn = self.pictures.masks[:, None]
        return {
            "image": self.pictures.images,
            "shielded": self.pictures.images.masked_fill(worn, 0),
            "clothes": self.pictures.images.masked_fill(~worn, 0),
        }[images]

    def extract(self, images: str = "image") -> Extracted:
        was = self.model.training
        self.model.eval()
        with torch.no_grad():
            found = self.model(self.shown(images))
        self.model.train(was)
        return Extracted(found.final_bn, found.joint)

    def minimise(self, part: str, loss: Tensor) -> None:
        parameters = [p for _, p in self.parts[part].parameters]
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        self.optimisers[part].step()

    def note(self, **figures: float) -> None:
        self.notes.append(figures)

    def prepare(self, stage: Stage) -> None:
        self.parts = dict(stage.parts())
        self.optimisers = {
            name: torch.optim.Adam([p for _, p in part.parameters], self.rate)
            for name, part in self.parts.items()
        }

    def batch(self, stage: Stage, index: list[int]) -> Any:
        at = torch.tensor(index)
        samples = [self.data.train[i] for i in index]

        def column(values: list[int | None]) -> Tensor:
            return torch.tensor([-1 if v is None else v for v in values])

        batch = {
            "person": column([s.person for s in samples]),
            "camera": column([s.camera for s in samples]),
            "clothes": column([s.clothes for s in samples]),
            "tracklet": column([s.tracklet for s in samples]),
            "index": at,
        }
        if stage.needs_pictures:
            batch["image"] = self.pictures.images[at]
        if stage.needs_masks:
            batch["clothes_mask"] = self.pictures.masks[at]
        return batch

    def epoch(self, stage: Stage, sampler: Any, epoch: int) -> dict[str, float]:
        """Carry out an epoch; returns the mean losses."""
        stage.begin_epoch(self, epoch)
        self.model.train()
        sampler.set_epoch(epoch)
        found: list[Mapping[str, Tensor]] = [
            stage.step(self, self.batch(stage, index), epoch) for index in sampler
        ]
        names = found[0]
        return {n: float(torch.stack([f[n] for f in found]).mean()) for n in names}

    def train(self, method: Method) -> dict[str, list[dict[str, float]]]:
        """Carry out a method; returns mean losses of epochs by stage."""
        method.check(self.data)
        history = {}
        for stage in method.stages(self):
            stage.begin(self)
            self.prepare(stage)
            sampler = stage.sampler(rank=0, world_size=1)
            history[stage.name] = [self.epoch(stage, sampler, e) for e in range(stage.epochs)]
        return history

    def figures(self, *, clothes_changing: bool = False) -> tuple[float, float]:
        """Return mAP and rank-1 of all pictures against all others, by their true people."""
        self.model.eval()
        with torch.no_grad():
            found = self.model.embed(self.pictures.images).numpy()
        person, camera, outfit = np.array(self.pictures.truth).T
        worn = person * 100 + outfit
        result = retrieval_metrics(
            found, found, person, person, camera, camera,
            query_clothes=worn, gallery_clothes=worn,
            protocol="clothes_changing" if clothes_changing else "standard",
        )  # fmt: skip
        return float(result.mean_ap), float(result.cmc[0])
