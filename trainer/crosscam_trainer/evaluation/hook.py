"""Judging the model during a run: what `loop.types.Evaluate` asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import InputError
from crosscam_trainer.data.protocol import answerable, sides
from crosscam_trainer.evaluation.embed_torch import embed
from crosscam_trainer.evaluation.probes import probe_figures
from crosscam_trainer.evaluation.scores import score, split_of
from crosscam_trainer.loop.run import preparation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crosscam_trainer.data.transforms import Preparation
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.loop.devices import World
    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.recipe import Recipe

_log = get_logger("trainer")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores a model by every protocol of a data set.

    Attributes:
        data: The set.
        recipe: `Recipe.evaluation` says how.
        world: Processes; every one embeds a part, the first one ranks.
        preparation: How pictures become inputs.
    """

    data: ReIDData
    recipe: Recipe
    world: World
    preparation: Preparation

    def __call__(self, model: ReIDModel) -> Mapping[str, float]:
        """Evaluate.

        Returns:
            Of the first protocol ``mAP``, ``R1``, …; of the others ``<protocol>/mAP``, …; with
            `EvaluationRecipe.probes` also those of `probe_figures`, over query and gallery. Empty
            on all but the first process.
        """
        how = self.recipe.evaluation
        query, gallery = split_of(self.data, how.split)
        rows = embed(
            model,
            (*query, *gallery),
            self.preparation,
            world=self.world,
            flip=how.flip,
            batch_size=how.batch_size,
            workers=self.recipe.loop.workers,
        )
        if not self.world.first:
            return {}
        left, right = rows[: len(query)], rows[len(query) :]
        figures: dict[str, float] = {}
        for number, protocol in enumerate(self.data.protocols):
            found = score(left, right, query, gallery, protocol, rerank=how.rerank)
            head = f"{protocol.name}/" if number else ""
            for name, value in found.figures.items():
                if not math.isnan(value):
                    figures[f"{head}{name}"] = value
        if how.probes:
            samples = {s.path: (row, s) for row, s in zip(rows, (*query, *gallery), strict=True)}
            features = np.stack([row for row, _ in samples.values()])
            figures |= probe_figures(features, [s for _, s in samples.values()])
        return figures


def make_evaluation(recipe: Recipe, data: ReIDData, world: World) -> Evaluation | None:
    """Make what judges the models of a run; None where the data have nothing to judge them on.

    A warning says so when there are queries, but none has a right answer (one camera only).
    """
    try:
        query, gallery = split_of(data, recipe.evaluation.split)
    except InputError:
        return None
    protocol = data.protocols[0]
    if not answerable(protocol, *sides(protocol, query, gallery)).any():
        _log.warning(
            "models are not judged: no query has a right answer",
            split=recipe.evaluation.split,
            protocol=protocol.name,
        )
        return None
    return Evaluation(data, recipe, world, preparation(recipe))
