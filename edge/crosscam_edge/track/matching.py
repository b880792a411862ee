"""Evidence that a detection continues a track, and the best one-to-one choice under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.track.motion import KalmanBatch

# A new person's box may have any size: log-uniform over a factor of 20.
_SIZE_RANGE = float(np.log(20.0))


def motion_evidence(
    kalman: KalmanBatch,
    tracks: NDArray[np.intp],
    box: NDArray[np.float64],
    noise: NDArray[np.float64],
    *,
    picture: float,
) -> NDArray[np.float64]:
    """Return how much better tracks explain boxes than a newcomer does, in nats.

    The log density of the box under the track's prediction minus that of a box anywhere in the
    picture; free of units, so it holds at any resolution. Boxes of people who are partly hidden
    lose their lower or upper part, so the vertical residual is the least of centre, top and foot,
    and the residual of the height is bounded.

    Args:
        kalman: Filters, already predicted to the time of the boxes.
        tracks: `(T,)` filters to score.
        box: `(M, 4)` cxcywh in pixels.
        noise: `(M,)` factor on the detector's noise.
        picture: Area of the image in pixels².

    Returns:
        `(T, M)`.
    """
    mean = kalman.mean[tracks]
    variance = kalman.innovation()[tracks]
    widen = np.square(noise)[None, :]
    var_x, var_y, _, var_h = (variance[:, i : i + 1] * np.maximum(widen, 1.0) for i in range(4))
    dx = box[None, :, 0] - mean[:, 0:1]
    dy = box[None, :, 1] - mean[:, 1:2]
    dh = box[None, :, 3] - mean[:, 3:4]
    dy = np.minimum(np.abs(dy), np.minimum(np.abs(dy - dh / 2), np.abs(dy + dh / 2)))
    position = -0.5 * (dx * dx / var_x + dy * dy / var_y)
    position += np.log(picture) - np.log(2 * np.pi) - 0.5 * np.log(var_x * var_y)
    # Student's t with 3 degrees of freedom: a cut box is unlikely, not impossible.
    size = -2.0 * np.log1p(dh * dh / var_h / 3.0)
    size += np.log(mean[:, 3:4] * _SIZE_RANGE * 0.3676) - 0.5 * np.log(var_h)
    out: NDArray[np.float64] = position + size
    return out


def assign(
    evidence: NDArray[np.float64], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose pairs, each row and column at most once, with the greatest total evidence.

    Args:
        evidence: `(T, M)` nats; -inf forbids a pair.
        least: Pairs below are never chosen.

    Returns:
        Rows `(K,)` and columns `(K,)`.
    """
    gain = np.maximum(np.nan_to_num(evidence - least, nan=0.0, neginf=0.0), 0.0)
    rows, columns = linear_sum_assignment(-gain)
    chosen = gain[rows, columns] > 0
    return rows[chosen].astype(np.intp), columns[chosen].astype(np.intp)


def contested(
    evidence: NDArray[np.float64],
    chosen: tuple[NDArray[np.intp], NDArray[np.intp]],
    least: float,
    margin: float,
) -> NDArray[np.bool_]:
    """Return the pairs of which a choice and its close rivals are made.

    For every pair that was not chosen the choice is changed so as to contain it: its row gives up
    its own column, and the row that loses a column takes that one, or a free one, instead. If this
    costs at most `margin` nats, the pair and those it would replace are contested.

    Args:
        evidence: `(T, M)` nats; -inf forbids a pair.
        chosen: Result of `assign` for it.
        least: Pairs below are never chosen.
        margin: Nats that settle a choice.

    Returns:
        `(T, M)` mask.
    """
    gain = np.maximum(np.nan_to_num(evidence - least, nan=0.0, neginf=0.0), 0.0)
    count, width = gain.shape
    # A row and a column without gain stand for "nobody" and "unseen".
    padded = np.pad(gain, ((0, 1), (0, 1)))
    own, owner = np.full(count, width), np.full(width, count)
    own[chosen[0]], owner[chosen[1]] = chosen[1], chosen[0]
    spare = np.where(np.append(owner == count, True), padded, 0.0).max(axis=1)
    held = np.append(padded[np.arange(count), own], 0.0)
    instead = np.maximum(padded[owner][:, own].T, spare[owner])  # (T, M) for the column's owner
    loss = held[:count, None] + held[owner] - gain - instead
    loss[chosen] = np.inf
    close = (gain > 0) & (loss <= margin)
    out: NDArray[np.bool_] = close.copy()
    for i, j in np.argwhere(close).tolist():
        for row, column in ((i, own[i]), (owner[j], j), (owner[j], own[i])):
            if row < count and column < width:
                out[row, column] |= gain[row, column] > 0
    return out
