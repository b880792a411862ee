"""The offline association: tracklets in, identities out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.associate.dense import DenseRun
from crosscam_edge.associate.features import centres
from crosscam_edge.associate.learned import people_by_camera
from crosscam_edge.associate.sparse import SparseRun
from crosscam_edge.associate.types import Association
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.attempt import Attempt, Run
    from crosscam_edge.types import Tracklet

# Mean similarity of two people: of an unknown model's raw embeddings, and once centred.
_RAW_IMPOSTOR = 0.35
_CENTRED_PASSES = 2
# Up to so many tracklets all pairs are held at once (below 600 MiB); beyond, only those that count.
DENSE = 2500


def associate(
    tracklets: Sequence[Tracklet], *, model_id: str, config: AssociationConfig | None = None
) -> Association:
    """Give every tracklet of a run its identity.

    Nobody gives a threshold: it is learned from the run. A first pass on plain cosines guesses who
    is who; with that guess each camera's own colour cast is told from the people it happened to
    see, removed, and everything is scored, calibrated and solved again.

    Up to `DENSE` tracklets all pairs are looked at; of more, those that can matter, so that memory
    grows with the number of tracklets and not with its square.

    Args:
        tracklets: All tracklets of the run, of any number of cameras; embeddings of one model. A
            tracklet without embeddings becomes an identity of its own.
        model_id: The model that made the embeddings.
        config: What is known about the site.

    Returns:
        One assignment per tracklet in the order of the input, with the evidence behind it. The
        outcome does not depend on that order.

    Raises:
        InputError: Two tracklets have one key, or embeddings differ in length or are not finite.
    """
    ordered = sorted(tracklets, key=lambda t: (t.start_ns, t.camera_id, t.track_id))
    found = solve(ordered, model_id=model_id, config=config or AssociationConfig())
    by_key = {a.key: a for a in found.explain()}
    return Association(
        assignments=[by_key[t.key] for t in tracklets],
        calibration=found.calibration,
        transits=_transits(ordered, found.labels),
    )


def solve(tracklets: Sequence[Tracklet], *, model_id: str, config: AssociationConfig) -> Attempt:
    """Return the last of the passes over tracklets in order of their starts; see `associate`."""
    _check(tracklets)
    run: Run = (DenseRun if len(tracklets) <= DENSE else SparseRun)(tracklets, config)
    names, learned = sorted({t.camera_id for t in tracklets}), config.learned
    shift = np.zeros((int(run.camera.max(initial=0)) + 1, run.mean.shape[1]))
    # Tracklets that are all blind have no length to compare with that of the casts.
    if learned is not None and any(len(t.embeddings) for t in tracklets):
        learned.require(model_id)
        shift = learned.shift_of(names, run.mean.shape[1])
    out = run.attempt(model_id, shift, _RAW_IMPOSTOR, len(tracklets), {})
    for _ in range(_CENTRED_PASSES if len(tracklets) > 1 else 0):
        shift = centres(run.mean, run.camera, out.labels)
        # With n people around their common centre, two of them are at -1 / (n - 1) on average;
        # the centre is kept in part, so what remains is between that and the raw value.
        labels = out.labels
        del out  # it holds the similarities of all pairs, and the next pass makes its own
        people = len(np.unique(labels))
        if learned is not None:
            seen = people_by_camera(run.camera, labels, len(names))
            shift = learned.blend(shift, names, seen)
        prior = _RAW_IMPOSTOR / (1.0 + people)
        transits = _transits(tracklets, labels)
        out = run.attempt(model_id, shift, prior, people, transits)
    return out


def _transits(
    tracklets: Sequence[Tracklet], labels: NDArray[np.int64]
) -> dict[tuple[str, str], list[float]]:
    """Return the seconds between leaving a camera and appearing next in another."""
    out: dict[tuple[str, str], list[float]] = {}
    last: dict[int, Tracklet] = {}
    for tracklet, label in zip(tracklets, labels.tolist(), strict=True):
        before = last.get(label)
        if before is not None and before.camera_id != tracklet.camera_id:
            seconds = (tracklet.start_ns - before.end_ns) / 1e9
            out.setdefault((before.camera_id, tracklet.camera_id), []).append(seconds)
        last[label] = tracklet
    return out


def _check(tracklets: Sequence[Tracklet]) -> None:
    keys = set()
    sizes = set()
    for tracklet in tracklets:
        if tracklet.key in keys:
            raise InputError(
                f"Two tracklets are called {tracklet.key}",
                expected="track ids that are unique in their camera",
                fix="number the tracks of each camera",
            )
        keys.add(tracklet.key)
        if not np.isfinite(tracklet.embeddings).all():
            raise InputError(
                f"Tracklet {tracklet.key} has embeddings that are not finite",
                expected="finite, L2-normalised embeddings",
                fix="check the embedding model with `crosscam verify`",
            )
        if len(tracklet.embeddings):
            sizes.add(tracklet.embeddings.shape[1])
    if len(sizes) > 1:
        raise InputError(
            f"Tracklets have embeddings of {len(sizes)} lengths: {sorted(sizes)}",
            expected="embeddings of one model",
            fix="embed all cameras with the same bundle",
        )
