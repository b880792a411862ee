"""The card of a trained model: what it was trained on and how, how good it is, and its limits."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import yaml

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crosscam_trainer.recipe import Recipe

_CHOSEN = {"last": "last epoch", "best": "best epoch"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """Figures of one epoch of one run.

    Attributes:
        seed: Of the run.
        chosen: Whether the epoch is the last one or the one with the best mAP.
        epoch: Which of its stage, counted from 1.
        protocol: How queries and gallery were compared, "market" for example.
        split: Of the data, "test" or "val".
        figures: By name: shares in [0, 1], such as ``mAP`` and ``rank-1``.
        stage: Of the method.
    """

    seed: int
    chosen: Literal["last", "best"]
    epoch: int
    protocol: str
    split: str
    figures: Mapping[str, float]
    stage: str = ""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says that no recipe knows.

    Attributes:
        name: Of the model.
        model_id: Of its bundle.
        licence: Of the weights.
        data: Name and size of the training data, in words.
        data_licence: Licence or terms of the data.
        weights: Where training started from: source and sha256, or that it was random.
        parameters: Of the exported model.
        embedding_dim: Length of an embedding.
        judgements: Of all seeds.
        chosen_on: Split that the best epoch was chosen on.
        exactness: Largest difference of the exported graph to the model, per element.
        limits: What it must not be trusted with, a sentence each.
        seconds: Training time of all seeds together; None when unknown.
        whitening: Whether it is used, and why; None where the recipe does not ask for it.
    """

    name: str
    model_id: str
    licence: str
    data: str
    data_licence: str
    weights: str
    parameters: int
    embedding_dim: int
    judgements: Sequence[Judgement]
    chosen_on: str
    exactness: float
    limits: Sequence[str] = field(default_factory=tuple)
    seconds: float | None = None
    whitening: str | None = None


def model_card(recipe: Recipe, facts: CardFacts) -> str:
    """Write a card.

    Args:
        recipe: As it was resolved.
        facts: Everything else.

    Returns:
        Markdown.

    Raises:
        InputError: A figure of a seed or an epoch appears twice, or is no share.
    """
    _check(facts.judgements)
    height, width = recipe.model.size
    method = str(recipe.method["name"])
    lines = [
        f"# {facts.name}",
        "",
        f"Finds the same person in pictures of {height} x {width} pixels (height x width): an "
        f"embedding of {facts.embedding_dim} numbers, compared by cosine. Trained with crosscam.",
        "",
        "| | |",
        "|---|---|",
        f"| licence of the weights | {facts.licence} |",
        f"| model id | `{facts.model_id}` |",
        f"| image tower | {recipe.model.tower}, {facts.parameters:,} parameters |",
        f"| method | {method} |",
        f"| started from | {facts.weights} |",
        f"| training data | {facts.data} |",
        f"| licence of the data | {facts.data_licence} |",
        f"| seeds | {', '.join(map(str, recipe.seeds))} |",
    ]
    if facts.seconds is not None:
        lines.append(f"| training time | {facts.seconds / 3600:.1f} h, all seeds |")
    if facts.whitening is not None:
        lines.append(f"| whitening inside labels | {facts.whitening} |")
    lines += [
        f"| exported graph | differs from the model by {facts.exactness:.1g} at most |",
        "",
        "## Accuracy",
        "",
        *_accuracy(facts, recipe),
        "## Limits",
        "",
        *[f"- {limit.rstrip('.')}." for limit in [*facts.limits, *_own_limits(recipe, facts)]],
        "",
        "## Recipe",
        "",
        "```yaml",
        recipe_text(recipe),
        "```",
        "",
    ]
    return "\n".join(lines)


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as its card shows it, in YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).rstrip()


def _check(judgements: Sequence[Judgement]) -> None:
    seen = set()
    for j in judgements:
        key = (j.seed, j.chosen, j.protocol, j.split)
        if key in seen:
            raise InputError(f"two judgements of {key}", expected="one for each seed and epoch")
        seen.add(key)
        for name, value in j.figures.items():
            if not 0 <= value <= 1:
                raise InputError(f"{name} = {value}", expected="a share from 0 to 1")


def _accuracy(facts: CardFacts, recipe: Recipe) -> list[str]:
    """One table for each protocol, split and choice of epoch."""
    lines: list[str] = []
    groups: dict[tuple[str, str, str], list[Judgement]] = {}
    for j in facts.judgements:
        groups.setdefault((j.protocol, j.split, j.chosen), []).append(j)
    for (protocol, split, chosen), found in groups.items():
        how = f"{protocol}, {split} split, {_CHOSEN[chosen]}"
        if chosen == "best":
            how += f" (chosen by mAP on the {facts.chosen_on} split)"
        how += f"; mirrored pictures averaged: {_yes(recipe.evaluation.flip)}"
        how += f"; re-ranked: {_yes(recipe.evaluation.rerank)}"
        names = list(dict.fromkeys(name for j in found for name in j.figures))
        lines += [f"{how}.", "", f"| seed | epoch | {' | '.join(names)} |"]
        lines.append("|---|---|" + "---|" * len(names))
        for j in sorted(found, key=lambda j: j.seed):
            cells = [f"{j.figures[n]:.3f}" if n in j.figures else "" for n in names]
            lines.append(f"| {j.seed} | {f'{j.stage} {j.epoch}'.strip()} | {' | '.join(cells)} |")
        if len(found) > 1:
            cells = [
                _mean_and_spread([j.figures[n] for j in found if n in j.figures]) for n in names
            ]
            lines.append(f"| mean ± standard deviation | | {' | '.join(cells)} |")
        lines.append("")
    return lines or ["Not measured.", ""]


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def _own_limits(recipe: Recipe, facts: CardFacts) -> list[str]:
    """What follows from recipe and figures and must not be left out."""
    limits = []
    best = [j for j in facts.judgements if j.chosen == "best"]
    if facts.chosen_on == "test" and any(j.split == "test" for j in best):
        limits.append(
            "The best epoch was chosen on the test split, so its figures are too good; those of "
            "the last epoch are not chosen"
        )
    if len({j.seed for j in facts.judgements}) < 2:
        limits.append("One seed only: how far figures vary from run to run is not known")
    if recipe.model.weights is None:
        limits.append("The image tower started from random weights, not from CLIP's")
    if recipe.model.interpolation != "bilinear":
        limits.append(
            f"Trained on pictures resized {recipe.model.interpolation}, served bilinearly"
        )
    return limits


def _yes(value: bool) -> str:
    return "yes" if value else "no"
