"""The offline association: tracklets in, identities out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.associate.constraints import camera_index, same_camera, seen_at_once
from crosscam_edge.associate.features import mean_embedding, normalise
from crosscam_edge.associate.solve import average_linkage, refine
from crosscam_edge.associate.types import Assignment, Association, Calibration, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet

_BINS = 80


def associate(
    tracklets: Sequence[Tracklet], *, model_id: str, config: AssociationConfig | None = None
) -> Association:
    """Give every tracklet of a run its identity.

    Args:
        tracklets: All tracklets of the run, from any number of cameras; embeddings of one model.
        model_id: The model that made the embeddings.
        config: What is known about the site.

    Returns:
        One assignment per tracklet in the order of the input, with the evidence behind it.
    """
    config = config or AssociationConfig()
    order = sorted(
        range(len(tracklets)),
        key=lambda i: (tracklets[i].start_ns, tracklets[i].camera_id, tracklets[i].track_id),
    )
    ordered = [tracklets[i] for i in order]
    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    if not ordered:
        zero = np.zeros(_BINS, np.int64)
        return Association(
            [], Calibration(model_id, 0.5, edges, zero, zero, float("nan"), float("nan"), "prior")
        )
    features = np.stack([mean_embedding(t) for t in ordered])
    camera = camera_index(ordered)
    centre = features.mean(axis=0)
    for c in np.unique(camera):
        members = camera == c
        count = members.sum()
        shrunk = (features[members].sum(axis=0) + 4 * centre) / (count + 4)
        features[members] -= shrunk
    features = normalise(features)
    similarity = (features @ features.T).astype(np.float32)
    forbidden = seen_at_once(ordered)
    impostors = similarity[np.triu(forbidden)]
    threshold = 0.45
    if len(impostors) >= 10:
        threshold = float(np.clip(impostors.mean() + 2.5 * impostors.std(), 0.2, 0.7))
    weights = 10 * (similarity - threshold)
    labels = refine(weights, forbidden, average_linkage(weights, forbidden))
    calibration = Calibration(
        model_id,
        threshold,
        edges,
        np.zeros(_BINS, np.int64),
        np.histogram(impostors, edges)[0],
        float((impostors > threshold).mean()) if len(impostors) else float("nan"),
        float("nan"),
        "run" if len(impostors) >= 10 else "prior",
    )
    assigned = _explain(ordered, labels, similarity, forbidden)
    by_key = {a.key: a for a in assigned}
    assert same_camera(ordered).shape == forbidden.shape
    return Association([by_key[t.key] for t in tracklets], calibration)


def _explain(
    tracklets: Sequence[Tracklet],
    labels: NDArray[np.int64],
    similarity: NDArray[np.float32],
    forbidden: NDArray[np.bool_],
) -> list[Assignment]:
    ids = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()), start=1)}
    out = []
    for i, tracklet in enumerate(tracklets):
        mates = np.flatnonzero((labels == labels[i]) & (np.arange(len(labels)) != i))
        earlier = mates[mates < i]
        runner, runner_id = float("nan"), 0
        for label, number in ids.items():
            members = np.flatnonzero(labels == label)
            if label == labels[i] or forbidden[i, members].any():
                continue
            score = float(similarity[i, members].mean())
            if runner_id == 0 or score > runner:
                runner, runner_id = score, number
        out.append(
            Assignment(
                tracklet.key,
                ids[labels[i]],
                Reason.MATCHED if len(earlier) else Reason.CREATED,
                float(similarity[i, mates].mean()) if len(mates) else float("nan"),
                runner,
                runner_id,
                tracklets[int(earlier[np.argmax(similarity[i, earlier])])].key
                if len(earlier)
                else None,
            )
        )
    return out
