"""Carries out training methods on pictures, or features of them, that are all in memory.

The methods, their options, samplers and optimisers are those of `crosscam train`; only the loop
around them is a plain one, without files, workers or checkpoints, so that a run takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscam_trainer.data.types import ReIDData
from crosscam_trainer.evaluation.probes import probe_figures
from crosscam_trainer.evaluation.scores import score
from crosscam_trainer.loop.devices import World
from crosscam_trainer.loop.optimise import LossScale, PartOptimiser
from crosscam_trainer.methods.base import Extracted, Method, Stage

Model = Any
Curve = dict[str, float]
_COLUMNS = ("person", "camera", "clothes", "tracklet")


@dataclass(frozen=True)
class Kept:
    """A data set in memory, and the model that is trained on it.

    Attributes:
        data: With labels across cameras.
        train: `(N, …)` inputs of the training split, by "image", "shielded" and "clothes".
        test: Inputs of the test split by path.
        first: Makes model and text tower with the first weights.
        about: What is said of the set in the JSON.
    """

    data: ReIDData
    train: Mapping[str, Tensor]
    test: Mapping[Path, Tensor]
    first: Callable[[], tuple[Model, Any]]
    about: Mapping[str, Any]

    def judge(self, model: Model) -> dict[str, float]:
        """Return figures of people whom training has not seen, named as `crosscam train` does."""
        data, paths = self.data, list(self.test)
        model.eval()
        with torch.no_grad():
            found = model.embed(torch.stack([self.test[p] for p in paths])).numpy()
        rows = dict(zip(paths, found, strict=True))
        query, gallery = (np.stack([rows[s.path] for s in x]) for x in (data.query, data.gallery))
        figures: dict[str, float] = {}
        for number, protocol in enumerate(data.protocols):
            scores = score(query, gallery, data.query, data.gallery, protocol)
            head = f"{protocol.name}/" if number else ""
            given = {name: scores.figures[name] for name in ("mAP", "R1")}
            figures |= {f"{head}{k}": value for k, value in given.items() if not math.isnan(value)}
        sample_of = {s.path: s for s in (*data.query, *data.gallery)}
        return figures | probe_figures(found, [sample_of[p] for p in paths])


class MemoryRun:
    """Implements `methods.base.Run`.

    Args:
        kept: What is trained on.
        data: Its data, with the labels that the method is given.
        seed: Of the run.
    """

    def __init__(self, kept: Kept, data: ReIDData, seed: int) -> None:
        torch.manual_seed(seed)
        self.model, self.text = kept.first()
        self.kept, self.data, self.seed = kept, data, seed
        self.device: Any = torch.device("cpu")
        self._world = World(self.device, half=None)
        self._parts: dict[str, PartOptimiser] = {}
        self._notes: Curve = {}
        self._labels = {
            name: torch.tensor([-1 if v is None else v for v in values])
            for name in _COLUMNS
            for values in [[getattr(s, name) for s in data.train]]
        }

    def extract(self, images: str = "image") -> Extracted:
        """Compute the features of the training split."""
        self.model.eval()
        with torch.no_grad():
            found = self.model(self.kept.train[images])
        return Extracted(found.final_bn, found.joint)

    def minimise(self, part: str, loss: Tensor) -> None:
        """Take a step of a part."""
        self._parts[part].minimise(loss)

    def note(self, **figures: float) -> None:
        """Keep figures of the epoch."""
        self._notes |= {name: float(value) for name, value in figures.items()}

    def train(self, method: Method, judged: Collection[int]) -> dict[str, Any]:
        """Carry out a method.

        Args:
            method: What.
            judged: Epochs of the last stage before which the model is judged; it is at the end too.

        Returns:
            "figures" of the end, "judged" and the "epochs" of the last stage.
        """
        method.check(self.data)
        curves: list[Curve] = []
        marks: list[dict[str, Any]] = []
        for stage in method.stages(self):
            curves = []
            stage.begin(self)
            scale = LossScale.of(None)
            self._parts = {
                name: PartOptimiser(name, part, self._world, scale, epochs=stage.epochs)
                for name, part in stage.parts().items()
            }
            sampler = stage.sampler(rank=0, world_size=1)
            for epoch in range(stage.epochs):
                if stage.needs_pictures and epoch in judged:
                    marks.append({"epoch": epoch, "figures": self.kept.judge(self.model)})
                sampler.set_epoch(epoch)
                curves.append(self._epoch(stage, [list(index) for index in sampler], epoch))
        figures = self.kept.judge(self.model)
        marks.append({"epoch": len(curves), "figures": figures})
        return {"figures": figures, "judged": marks, "epochs": curves}

    def _epoch(self, stage: Stage, batches: list[list[int]], epoch: int) -> Curve:
        self._notes = {}
        stage.begin_epoch(self, epoch)
        self.model.train()
        found: dict[str, list[float]] = {}
        for number, index in enumerate(batches):
            for part in self._parts.values():
                part.set_progress(epoch + number / len(batches))
            at = torch.tensor(index)
            batch: Any = {name: values[at] for name, values in self._labels.items()}
            batch["index"] = at
            if stage.needs_pictures:
                batch["image"] = self.kept.train["image"][at]
            for name, loss in stage.step(self, batch, epoch).items():
                found.setdefault(name, []).append(float(loss))
        return {name: float(np.mean(values)) for name, values in found.items()} | self._notes
