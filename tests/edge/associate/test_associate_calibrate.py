"""Where the scores of strangers and of people met again lie, as a run tells it."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_edge.associate.calibrate import ACROSS, MAX_LOG_ODDS, ScoreModel, fit


def scores(seed: int, *, lookalikes: int, met: int = 13) -> dict[str, np.ndarray]:
    """Scores of a small site: a dozen people, two dozen tracklets."""
    rng = np.random.default_rng(seed)
    undecided = np.concatenate(
        [
            rng.normal(-0.02, 0.11, 195),
            rng.normal(0.25, 0.1, lookalikes),
            rng.normal(0.66, 0.1, met),
        ]
    )
    drawn = {
        "impostors": rng.normal(0.03, 0.13, 20),
        "ends": rng.normal(0.7, 0.1, 24),
        "undecided": undecided,
        "best": np.sort(undecided)[-23:],
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def fitted(rivals: int = 12, sights: float = 2.0, **drawn: np.ndarray) -> ScoreModel:
    best = drawn.pop("best")
    return fit(
        **drawn, best=best, impostor_prior=0.03, transfer=ACROSS, rivals=rivals, sights=sights
    )


@pytest.mark.parametrize("seed", range(4))
def test_lookalikes_do_not_pass_for_people_who_changed(seed: int) -> None:
    model = fitted(**scores(seed, lookalikes=25))
    assert model.genuine[0] > 0.53, "they are at .66"
    assert 0.25 < model.threshold < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_no_more_are_genuine_than_there_are_people_to_be(seed: int) -> None:
    drawn = scores(seed, lookalikes=60)
    assert fitted(**drawn, rivals=30).share <= 1.5 / 30
    assert fitted(**drawn, rivals=1).share <= 0.9


@pytest.mark.parametrize("seed", range(4))
def test_more_people_ask_for_more_and_more_sights_of_each_for_less(seed: int) -> None:
    drawn = scores(seed, lookalikes=0)
    few, many = fitted(**drawn, rivals=3), fitted(**drawn, rivals=100)
    assert few.threshold < many.threshold < many.genuine[0]
    often = fitted(**drawn, rivals=100, sights=20)
    assert often.threshold < many.threshold - 0.03
    equal_error = (often.impostor[0] * often.genuine[1] + often.genuine[0] * often.impostor[1]) / (
        often.impostor[1] + often.genuine[1]
    )
    assert often.threshold >= equal_error - 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_a_tail_of_strangers_does_not_spread_the_genuine(seed: int) -> None:
    drawn = scores(seed, lookalikes=0)
    tail = np.random.default_rng(seed).normal(0.3, 0.05, 6).astype(np.float32)
    longer = {**drawn, "undecided": np.concatenate([drawn["undecided"], tail])}
    before, after = fitted(**drawn), fitted(**longer)
    assert after.genuine[1] < 0.17, "it is .1, and .12 by the prior"
    assert after.threshold > 0.3
    assert after.threshold > before.threshold - 0.04


def test_without_a_run_the_prior_decides() -> None:
    nothing = np.zeros(0, np.float32)
    model = fitted(impostors=nothing, ends=nothing, undecided=nothing, best=nothing)
    assert model.impostor[0] == pytest.approx(0.03)
    assert model.genuine[0] == pytest.approx(0.03 + ACROSS * (0.8 - 0.03))
    assert model.impostor[0] < model.threshold < model.genuine[0]


def test_log_odds_grow_with_likeness_and_are_bounded() -> None:
    model = fitted(**scores(0, lookalikes=25))
    odds = model.log_odds(np.linspace(-1, 1, 201, dtype=np.float32))
    assert (np.diff(odds) >= 0).all()
    assert (odds[0], odds[-1]) == (-MAX_LOG_ODDS, MAX_LOG_ODDS)
    assert model.log_odds(np.float32([model.threshold]))[0] == pytest.approx(0, abs=1e-4)
