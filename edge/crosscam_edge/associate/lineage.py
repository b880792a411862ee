"""Why each tracklet has its identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.types import Assignment, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet


def explain(
    tracklets: Sequence[Tracklet],
    labels: NDArray[np.int64],
    similarity: NDArray[np.float32],
    forbidden: NDArray[np.bool_],
) -> list[Assignment]:
    """Return one assignment for each of `(N,)` tracklets, which are in order of time.

    Ids count from 1 in the order in which the people appear. The runner-up is the most similar
    other identity that the rules allowed.
    """
    identity = identities(labels)
    count = int(identity.max(initial=-1)) + 1
    onehot = np.zeros((len(labels), count), np.float32)
    onehot[np.arange(len(labels)), identity] = 1.0
    own = np.diag(similarity).copy()
    totals, sizes = similarity @ onehot, onehot.sum(axis=0)
    barred = forbidden.astype(np.float32) @ onehot > 0
    out = []
    for i, tracklet in enumerate(tracklets):
        mine = int(identity[i])
        means = totals[i] / sizes
        means[barred[i]] = -np.inf
        means[mine] = -np.inf
        rival = int(np.argmax(means))
        open_to = bool(np.isfinite(means[rival]))
        mates = float(sizes[mine]) - 1
        earlier = np.flatnonzero(identity[:i] == mine)
        origin = int(earlier[np.argmax(similarity[i, earlier])]) if len(earlier) else -1
        out.append(
            Assignment(
                key=tracklet.key,
                global_id=mine + 1,
                reason=Reason.MATCHED if len(earlier) else Reason.CREATED,
                score=float((totals[i, mine] - own[i]) / mates) if mates else float("nan"),
                runner_up=float(means[rival]) if open_to else float("nan"),
                runner_up_id=rival + 1 if open_to else 0,
                matched_to=tracklets[origin].key if origin >= 0 else None,
            )
        )
    return out


def identities(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `(N,)` numbers of groups from 0, in the order in which they appear in `labels`."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    out: NDArray[np.int64] = order[inverse]
    return out
