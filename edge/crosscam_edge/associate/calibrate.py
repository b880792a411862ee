"""From similarities to log-odds, learned from the run itself.

Certain impostors are tracklets seen at once in one camera. Certain genuines are the two ends of one
tracklet; they are easier than the same person in another camera, so they only bound where the
genuine scores lie. The rest comes from all undecided pairs of the run, as a mixture of the two
kinds fitted by expectation-maximisation with a prior (Dempster, Laird & Rubin 1977). Where the run
says little the prior decides, and `Calibration.source` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from crosscam_edge.associate.learned import MOST_PAIRS
from crosscam_edge.associate.types import Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.associate.learned import Learned

BINS = 100
MIN_PAIRS = 12  # certain pairs of each kind from which a run is believed
MAX_LOG_ODDS = 12.0  # one pair is never worth more

# Prior of an unknown model; each counts like `_PRIOR_PAIRS` pairs of the run.
_PRIOR_PAIRS = 8.0
_HALVES = 0.80
_SPREAD = 0.12
# A person met again is alike as much as this share of the way from impostors to the two ends of a
# tracklet: in the same camera, and in another one.
RETURN = 0.85
ACROSS = 0.80
_TRANSFER_RANGE = (0.40, 0.95)
_TRANSFER_PAIRS = 12.0
# How far genuines spread is told from the tail of the impostors by many pairs alone.
_SPREAD_PAIRS = 96.0
_BEST_SPREAD = 1.15  # pairs that are not the best spread this much more than those that are
_IMPOSTOR_PAIRS = 12.0
_ROUNDS = 30
_SAMPLE = 50_000
# Of the pairs of a tracklet with those of other cameras, one in as many as there are people is
# genuine, or few more. Beyond, the tail of the impostors would pass for people who changed much.
_MOST_GENUINE = 1.5
# Wrong people whom somebody may resemble by chance, if scores were normal; their true tails are
# heavier, so far less is asked for than is meant.
_FALSE_JOINS = 1e-4
_ALIKE = 0.1  # correlation of the scores between the tracklets of two people


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """Where the scores of impostors and genuines lie.

    Attributes:
        impostor: Mean and standard deviation of impostor similarities.
        genuine: Mean and standard deviation of genuine similarities across cameras.
        share: Share of genuine pairs among the undecided.
        threshold: Similarity from which two tracklets count as one person.
        slope: Log-odds per similarity around the threshold.
    """

    impostor: tuple[float, float]
    genuine: tuple[float, float]
    share: float
    threshold: float
    slope: float

    def log_odds(self, similarity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log-odds of being one person; linear, hence monotone, and bounded."""
        raw = self.slope * (similarity - np.float32(self.threshold))
        out: NDArray[np.float32] = np.clip(raw, -MAX_LOG_ODDS, MAX_LOG_ODDS).astype(np.float32)
        return out


@dataclass(frozen=True, slots=True)
class Prior:
    """What earlier footage of the site has shown of the scores of one kind of pairs.

    Attributes:
        impostors: Mean and standard deviation of certain impostors.
        ends: Mean similarity of the two ends of a tracklet.
        model: Of this kind of pairs.
        pairs: Pairs that all this counts for.
        least_threshold: See `crosscam_edge.associate.learned.Learned`.
    """

    impostors: tuple[float, float]
    ends: float
    model: ScoreModel
    pairs: float
    least_threshold: float | None

    @classmethod
    def of(cls, learned: Learned | None, *, across: bool) -> Prior | None:
        """Return what is known of pairs across cameras, or within one; None without footage."""
        if learned is None:
            return None
        model = learned.across if across else learned.within
        pairs = min(float(learned.pairs), MOST_PAIRS)
        return cls(learned.impostors, learned.ends, model, pairs, learned.least_threshold)


def fit(
    impostors: NDArray[np.float32],
    ends: NDArray[np.float32],
    undecided: NDArray[np.float32],
    *,
    impostor_prior: float,
    transfer: float,
    rivals: int,
    sights: float = 1.0,
    best: NDArray[np.float32] | None = None,
    prior: Prior | None = None,
) -> ScoreModel:
    """Fit the score model.

    Args:
        impostors: `(I,)` similarities of pairs seen at once in one camera.
        ends: `(G,)` similarities of the two ends of a tracklet.
        undecided: `(U,)` similarities of all other pairs, in a fixed order.
        impostor_prior: Expected mean similarity of impostors in this space.
        transfer: Expected place of the genuines, see `RETURN` and `ACROSS`.
        rivals: People among whom a tracklet could be mistaken for another.
        sights: Tracklets that a person has in the mean.
        best: `(B,)` similarities of pairs that are each other's best in their cameras. Few of them
            are look-alikes, so the genuine ones among them bound how far genuines may spread; left
            alone, the mixture takes the tail of the impostors for genuines that changed much.
        prior: What earlier footage of the site has shown, in place of `impostor_prior` and
            `transfer`.
    """
    certain, halves, pairs = (impostor_prior, _SPREAD), _HALVES, _PRIOR_PAIRS
    if prior is not None:
        certain, halves, pairs = prior.impostors, prior.ends, prior.pairs
    mi, si = _posterior(impostors, *certain, pairs)
    mh, _ = _posterior(ends, halves, _SPREAD, pairs)
    reach = max(mh - mi, 0.1)
    si = float(np.clip(si, 0.08 * reach, 0.40 * reach))
    expected, spread, share = mi + transfer * reach, 0.18 * reach, 0.1
    many, bulk_many, spread_many = _TRANSFER_PAIRS, _IMPOSTOR_PAIRS, _SPREAD_PAIRS
    if prior is not None:
        (expected, spread), share = prior.model.genuine, prior.model.share
        many = bulk_many = spread_many = prior.pairs
    mg, sg = expected, spread
    most = min(_MOST_GENUINE / max(rivals, 1), 0.9)
    x = undecided[:: max(1, len(undecided) // _SAMPLE)].astype(np.float64)
    # Where impostors of other cameras lie was seen before, or they are thought to be like these.
    certain_mean = mi
    centre, si0 = mi, si = (mi, si) if prior is None else prior.model.impostor
    for _ in range(_ROUNDS if len(x) else 0):
        # In place, for it is done often: p = 1 / (1 + exp(-log_ratio)).
        p = _log_normal(x, mg, sg)
        p -= _log_normal(x, mi, si)
        p += np.log(share / (1 - share))
        np.clip(p, -50, 50, out=p)
        np.exp(np.negative(p, out=p), out=p)
        p += 1.0
        np.divide(1.0, p, out=p)
        # Above the genuine mean a narrow impostor is no explanation, and the reverse.
        p[x >= mg], p[x <= mi] = 1.0, 0.0
        total = float(p.sum())
        # Impostors of other cameras need not look as alike as those of one: let the bulk tell.
        bulk, weight = 1.0 - p, bulk_many
        count = float(bulk.sum()) + weight
        mi = (float(bulk @ x) + weight * centre) / count
        mi = float(np.clip(mi, certain_mean - 0.35 * reach, certain_mean + 0.1 * reach))
        var = (float(bulk @ _squares(x, mi)) + weight * si0**2) / count
        si = float(np.clip(np.sqrt(var), 0.08 * reach, 0.40 * reach))
        mg = (float(p @ x) + many * expected) / (total + many)
        mg = float(np.clip(mg, mi + _TRANSFER_RANGE[0] * reach, mi + _TRANSFER_RANGE[1] * reach))
        var = (float(p @ _squares(x, mg)) + spread_many * spread**2) / (total + spread_many)
        sg = float(np.clip(np.sqrt(var), 0.10 * reach, 0.30 * reach))
        if best is not None:
            likelier = _log_normal(best, mg, sg) > _log_normal(best, mi, si)
            near = best[likelier & (best > mi)].astype(np.float64)
            square = float(((near - near.mean()) ** 2).sum()) if len(near) else 0.0
            var = (square + many * spread**2) / (len(near) + many)
            sg = min(sg, _BEST_SPREAD * float(np.sqrt(var)))
        share = float(np.clip((total + 1) / (len(x) + 10), 1e-4, most))
    # Groups are compared by the mean over their pairs: the equal-error point, not the rarity of
    # genuine pairs, is where to start. But everybody meets every other person, so the more people,
    # the further from the impostors it must be; the mean over many pairs is less often far off.
    threshold = (mi * sg + mg * si) / (si + sg)
    among = si * float(np.sqrt(_ALIKE + (1.0 - _ALIKE) / max(sights, 1.0)))
    guard = mi + among * float(-ndtri(min(_FALSE_JOINS / max(rivals, 1), 0.5)))
    threshold = max(threshold, min(guard, mg - 0.5 * sg))
    if prior is not None and prior.least_threshold is not None:
        threshold = max(threshold, prior.least_threshold)
    slope = (threshold - mi) / si**2 + (mg - threshold) / sg**2  # of the two log-densities
    return ScoreModel((mi, si), (mg, sg), share, threshold, float(slope))


def report(
    model: ScoreModel,
    model_id: str,
    impostors: NDArray[np.float32],
    ends: NDArray[np.float32],
) -> Calibration:
    """Return what was learned, for the record."""
    edges = np.linspace(-1.0, 1.0, BINS + 1)
    enough = len(impostors) >= MIN_PAIRS and len(ends) >= MIN_PAIRS
    return Calibration(
        model_id=model_id,
        threshold=model.threshold,
        bin_edges=edges,
        genuine=np.histogram(ends, edges)[0].astype(np.int64),
        impostor=np.histogram(impostors, edges)[0].astype(np.int64),
        fmr=float(np.mean(impostors >= model.threshold)) if len(impostors) else float("nan"),
        fnmr=float(np.mean(ends < model.threshold)) if len(ends) else float("nan"),
        source="run" if enough else "prior",
    )


def _posterior(
    values: NDArray[np.float32], mean: float, spread: float, pairs: float = _PRIOR_PAIRS
) -> tuple[float, float]:
    """Return mean and standard deviation of `values` with the prior counted as `pairs` of them."""
    x = values.astype(np.float64)
    n = len(x)
    centre = (float(x.sum()) + pairs * mean) / (n + pairs)
    square = float(((x - x.mean()) ** 2).sum()) if n else 0.0
    return centre, float(np.sqrt((square + pairs * spread**2) / (n + pairs)))


def _log_normal(x: NDArray[np.floating], mean: float, spread: float) -> NDArray[np.float64]:
    part = x - mean
    part /= spread
    np.square(part, out=part)
    part *= -0.5
    out: NDArray[np.float64] = part - np.log(spread)
    return out


def _squares(x: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    out: NDArray[np.float64] = x - mean
    np.square(out, out=out)
    return out
