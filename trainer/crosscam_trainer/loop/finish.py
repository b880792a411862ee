"""The end of a run: its last and best models as bundles with cards."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.hashing import sha256_file
from crosscam_kernels.errors import InputError
from crosscam_trainer.evaluation.scores import FIGURES
from crosscam_trainer.evaluation.trained import load_trained
from crosscam_trainer.loop.checkpoint import writing
from crosscam_trainer.models.build import count_parameters
from crosscam_trainer.models.export import export_bundle
from crosscam_trainer.models.model_card import CardFacts, Judgement, model_card, recipe_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.recipe import Recipe

_CHOICES: tuple[Literal["last", "best"], ...] = ("last", "best")


class _Place(NamedTuple):
    """Where the model of a seed and an epoch is."""

    weights: Path
    bundle: Path
    card: Path


def export_run(
    recipe: Recipe, data: ReIDData, output: Path, results: list[dict[str, Any]]
) -> list[str]:
    """Write ``seed-<n>/<last|best>.bundle`` and ``<last|best>.card.md`` for every seed.

    Every bundle is checked as `export_bundle` does, and its manifest holds the figures with their
    split and protocol. The card has those of all seeds, however the model was chosen. Bundles and
    cards of the same weights and recipe, from before the run was resumed, are kept.

    Args:
        recipe: Of the run, with the split that models were judged on.
        data: What it was trained on.
        output: Folder of the run.
        results: Of its seeds, in the order of the recipe, as ``result.json``.

    Returns:
        A line for each bundle.

    Raises:
        RunError: An export failed or differs from its model, or the disk is full.
        InputError: Weights of the run are damaged.
    """
    judgements = [
        judgement
        for seed, result in zip(recipe.seeds, results, strict=True)
        for judgement in judgements_of(recipe, data, seed, result)
    ]
    said = []
    for seed in recipe.seeds:
        for chosen in _CHOICES:
            folder = output / f"seed-{seed}"
            place = _Place(
                folder / f"{chosen}.safetensors",
                folder / f"{chosen}.bundle",
                folder / f"{chosen}.card.md",
            )
            if place.weights.is_file():
                _export(place, recipe, data, judgements, seed, chosen)
                said.append(f"{chosen} model of seed {seed}: {place.bundle}")
    return said


def judgements_of(
    recipe: Recipe, data: ReIDData, seed: int, result: Mapping[str, Any]
) -> list[Judgement]:
    """Return what a seed's result says of its last and best epoch, by protocol."""
    split, found = recipe.evaluation.split, []
    for chosen in _CHOICES:
        judged = result[chosen]
        if judged is None:
            continue
        for protocol, figures in by_protocol(judged["figures"], data).items():
            found.append(
                Judgement(seed, chosen, judged["epoch"], protocol, split, figures, judged["stage"])
            )
    return found


def by_protocol(figures: Mapping[str, float], data: ReIDData) -> dict[str, dict[str, float]]:
    """Part figures into those of protocols; the ones without name are of the first."""
    parts: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        protocol, slash, figure = name.rpartition("/")
        if (figure if slash else name) in FIGURES:
            parts.setdefault(protocol or data.protocols[0].name, {})[figure] = value
    return parts


def _export(
    place: _Place,
    recipe: Recipe,
    data: ReIDData,
    judgements: list[Judgement],
    seed: int,
    chosen: Literal["last", "best"],
) -> None:
    training = _training(recipe, data, seed, chosen, sha256_file(place.weights))
    if _is_current(place, recipe, training):
        return
    # From before a kill, or with figures of fewer seeds: made anew, as the card needs its checks.
    shutil.rmtree(place.bundle, ignore_errors=True)
    trained = load_trained(place.weights)
    own = [j for j in judgements if j.seed == seed and j.chosen == chosen]
    name = f"{recipe.name[:60]}-seed{seed}-{chosen}"
    exported = export_bundle(
        trained.model,
        trained.preparation,
        place.bundle,
        name=name,
        licence=recipe.licence,
        source="trained with crosscam",
        training=training,
        accuracy={f"{j.split}/{j.protocol}/{k}": v for j in own for k, v in j.figures.items()},
    )
    weights = "random weights"
    if recipe.model.weights is not None:
        weights = recipe.model.weights
        if recipe.model.weights_sha256 is not None:
            weights += f", sha256 {recipe.model.weights_sha256}"
    facts = CardFacts(
        name=name,
        model_id=exported.bundle.model_id,
        licence=recipe.licence,
        data=_data(data),
        data_licence=recipe.data.licence,
        weights=weights,
        parameters=count_parameters(trained.model),
        embedding_dim=trained.model.embedding_dim,
        judgements=judgements,
        chosen_on=recipe.evaluation.split,
        exactness=exported.graph_error,
        whitening=trained.about.get("whitening"),
    )
    with writing(place.card):
        part = place.card.with_suffix(".part")
        part.write_text(model_card(recipe, facts), encoding="utf-8")
        part.replace(place.card)


def _is_current(place: _Place, recipe: Recipe, training: str) -> bool:
    """Whether bundle and card are there, whole, and of these weights and this recipe."""
    if not place.card.is_file():
        return False
    try:
        manifest = load_bundle(place.bundle).manifest
    except InputError:
        return False
    card = place.card.read_text(encoding="utf-8")
    same = recipe_text(recipe) in card and manifest.model_id in card
    return same and manifest.training.startswith(training)


def _data(data: ReIDData) -> str:
    what = "labels by camera" if data.intra is not None else "people"
    return (
        f"{data.name}: {len(data.train)} pictures of {data.train_people} {what}, "
        f"{len({s.camera for s in data.train})} cameras"
    )


def _training(recipe: Recipe, data: ReIDData, seed: int, chosen: str, digest: str) -> str:
    split = recipe.evaluation.split
    how = f"best epoch by mAP on the {split} split" if chosen == "best" else "last epoch"
    return (
        f"{recipe.method['name']} on {_data(data)}; recipe {recipe.name}, seed {seed}, {how}; "
        f"weights sha256 {digest}"
    )
