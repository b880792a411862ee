"""Model cards: figures with their protocol, spread over seeds, limits that cannot be left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from crosscam_kernels.errors import InputError
from crosscam_trainer.models.model_card import CardFacts, Judgement, model_card
from crosscam_trainer.recipe import Recipe


def recipe(**values):
    base = {
        "name": "r",
        "data": {"path": "d"},
        "method": {"name": "ccafl"},
        "model": {"size": [128, 64]},
        "seeds": [0, 1],
    }
    return Recipe.model_validate(base | values)


def judged(seed, chosen="last", split="test", **figures):
    return Judgement(seed, chosen, 60, "market", split, figures or {"mAP": 0.5, "rank-1": 0.7})


def facts(judgements, **values):
    given = {
        "name": "m",
        "model_id": "0" * 64,
        "licence": "Apache-2.0",
        "data": "made, 20 people",
        "data_licence": "CC0",
        "weights": "random",
        "parameters": 2_889_453,
        "embedding_dim": 368,
        "judgements": judgements,
        "chosen_on": "val",
        "exactness": 3e-7,
        "limits": ["Seen by day only."],
    }
    return CardFacts(**(given | values))


def test_a_card_says_everything_and_its_recipe_can_be_read_back():
    card = model_card(recipe(), facts([judged(0), judged(1, mAP=0.6, **{"rank-1": 0.8})]))
    for words in ("Apache-2.0", "CC0", "2,889,453", "128 x 64", "made, 20 people", "3e-07"):
        assert words in card
    assert "| mean ± standard deviation | | 0.550 ± 0.071 | 0.750 ± 0.071 |" in card
    assert "market, test split, last epoch" in card
    assert "- Seen by day only.\n" in card
    text = card.split("```yaml\n")[1].split("```")[0]
    assert Recipe.model_validate(yaml.safe_load(text)) == recipe()


def test_limits_that_follow_from_the_run_are_always_there():
    one = facts([judged(0), judged(0, "best")], chosen_on="test")
    card = model_card(recipe(model={"interpolation": "bicubic"}), one)
    for words in ("chosen on the test split", "One seed only", "random weights", "bicubic"):
        assert words in card
    honest = replace(one, judgements=[judged(0), judged(1, "best")], chosen_on="val")
    card = model_card(recipe(model={"weights": "hub"}), honest)
    for words in ("chosen on the test split", "One seed only", "random weights", "bicubic"):
        assert words not in card


def test_whether_it_is_whitened_is_said():
    assert "whitening" not in model_card(recipe(), facts([])).split("## Recipe")[0]
    card = model_card(recipe(), facts([], whitening="not used: no label could be looked for"))
    assert "| whitening inside labels | not used: no label" in card


def test_nothing_measured_is_said():
    assert "Not measured." in model_card(recipe(), facts([]))


def test_wrong_figures_are_refused():
    with pytest.raises(InputError, match="two judgements"):
        model_card(recipe(), facts([judged(0), judged(0)]))
    with pytest.raises(InputError, match="share"):
        model_card(recipe(), facts([judged(0, mAP=55.0)]))
