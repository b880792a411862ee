"""Ranges of int8: where values are cut off, so that those that matter keep most of their digits.

A range as wide as all that was ever seen spends its 255 steps on a few outliers; one that is too
narrow cuts them. The methods are those of the field; which is best depends on the network and is
measured (`quantise.best_of`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.precision.observe import Observed

Method = Literal["minmax", "average", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
_PERCENTILE = 99.99
_CUTS = 100
_LEVELS = 256


def bounds(seen: Observed, method: Method) -> tuple[float, float]:
    """Return the range of a tensor.

    Args:
        seen: What values it had.
        method: ``minmax``: all that were seen; ``average``: mean over pictures of their extremes
            (as NNCF does); ``percentile``: all but one in 10,000; ``mse``: least mean squared
            error; ``entropy``: least Kullback-Leibler divergence (Migacz, GTC 2017).

    Returns:
        Least and greatest value; 0 lies within, as padding needs it exactly.
    """
    low, high = _raw(seen, method)
    return min(low, 0.0), max(high, 0.0)


def centred(low: float, high: float) -> tuple[float, float]:
    """Return a range with zero in the middle; one without negative values stays as it is."""
    bound = max(-low, high)
    return (-bound, bound) if low < 0 else (low, high)


def _raw(seen: Observed, method: Method) -> tuple[float, float]:
    if method == "minmax":
        return seen.range
    if method == "average":
        return float(seen.lowest.mean()), float(seen.highest.mean())
    if method == "percentile":
        return _percentile(seen)
    return _searched(seen, method)


def _percentile(seen: Observed) -> tuple[float, float]:
    share = np.cumsum(seen.counts) / max(seen.counts.sum(), 1)
    rest = (1 - _PERCENTILE / 100) / 2
    centres = seen.centres
    low = int(np.searchsorted(share, rest))
    high = int(np.searchsorted(share, 1 - rest))
    below, above = seen.range
    return (
        below if low == 0 else float(centres[low]),
        above if high >= len(centres) - 1 else float(centres[high]),
    )


def _searched(seen: Observed, method: Method) -> tuple[float, float]:
    """Try ever narrower cuts of the range, both ends in proportion, and keep the best."""
    low, high = min(seen.range[0], 0.0), max(seen.range[1], 0.0)
    loss = _squared_error if method == "mse" else _divergence
    best, least = (low, high), np.inf
    for part in np.linspace(1.0, 0.1, _CUTS):
        cut = (low * part, high * part)
        found = loss(seen, *cut)
        if found < least:
            best, least = cut, found
    return best


def _squared_error(seen: Observed, low: float, high: float) -> float:
    step = (high - low) / (_LEVELS - 1)
    if step <= 0:
        return 0.0
    values = seen.centres
    rounded = np.round((np.clip(values, low, high) - low) / step) * step + low
    # within a part of the histogram values are spread, which rounding of its centre does not see
    width = (seen.range[1] - seen.range[0]) / len(values)
    inside = np.minimum(width, step) ** 2 / 12
    return float((seen.counts * (np.square(rounded - values) + inside)).sum())


def _divergence(seen: Observed, low: float, high: float) -> float:
    values, counts = seen.centres, _without_zeros(seen)
    step = (high - low) / (_LEVELS - 1)
    if step <= 0:
        return 0.0
    level = np.clip(np.round((values - low) / step), 0, _LEVELS - 1).astype(np.int64)
    within = (values >= low) & (values <= high)
    # reference: what is cut lies at the ends; candidate: what is within, spread over its level
    reference = _heaped(counts, level, within)
    kept = np.where(within, counts, 0.0)
    filled = (kept > 0).astype(np.float64)
    sums = np.bincount(level, kept, _LEVELS)
    cells = np.bincount(level, filled, _LEVELS)
    spread = np.where(filled > 0, sums[level] / np.maximum(cells[level], 1), 0.0)
    if reference.sum() == 0:
        return np.inf
    p, q = reference / reference.sum(), spread / max(spread.sum(), 1e-12)
    used = p > 0
    return float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))).sum())


def _without_zeros(seen: Observed) -> NDArray[np.float64]:
    """Return the counts with those of zeros, which any range keeps exactly, like their neighbours'.

    After a ReLU they are the greater part, and would drown the others.
    """
    counts = seen.counts.astype(np.float64)
    low, high = seen.range
    cell = int(np.clip(-low / (high - low) * len(counts), 0, len(counts) - 1)) if high > low else 0
    around = [counts[k] for k in (cell - 1, cell + 1) if 0 <= k < len(counts)]
    counts[cell] = min(counts[cell], max(around))
    return counts


def _heaped(
    counts: NDArray[np.float64], level: NDArray[np.int64], within: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Move the counts of values that are cut off to the outermost ones that are not."""
    heaped = np.where(within, counts, 0.0)
    inside = np.flatnonzero(within)
    if len(inside):
        heaped[inside[0]] += counts[: inside[0]].sum()
        heaped[inside[-1]] += counts[inside[-1] + 1 :].sum()
    return heaped
