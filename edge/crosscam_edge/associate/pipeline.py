"""The offline association: tracklets in, identities out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate import calibrate
from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.associate.constraints import (
    camera_index,
    overlapping,
    seen_at_once,
    shared_seconds,
)
from crosscam_edge.associate.features import (
    centred,
    centres,
    halves,
    looks_of,
    paired_similarity,
    similarity,
)
from crosscam_edge.associate.lineage import explain
from crosscam_edge.associate.reunite import reunite
from crosscam_edge.associate.simultaneous import mutual_best, presence_evidence
from crosscam_edge.associate.solve import average_linkage, refine
from crosscam_edge.associate.travel import travel_evidence
from crosscam_edge.associate.types import Association
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.types import Calibration
    from crosscam_edge.types import Tracklet

# Mean similarity of two people: of an unknown model's raw embeddings, and once centred.
_RAW_IMPOSTOR = 0.35
_CENTRED_PASSES = 2
_OVERLAP = np.float32(2.0)  # nats against one person whose tracklets overlap where none is sure


def associate(
    tracklets: Sequence[Tracklet], *, model_id: str, config: AssociationConfig | None = None
) -> Association:
    """Give every tracklet of a run its identity.

    Nobody gives a threshold: it is learned from the run. A first pass on plain cosines guesses who
    is who; with that guess each camera's own colour cast is told from the people it happened to
    see, removed, and everything is scored, calibrated and solved again.

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
    config = config or AssociationConfig()
    _check(tracklets)
    ordered = sorted(tracklets, key=lambda t: (t.start_ns, t.camera_id, t.track_id))
    run = _Run(ordered, config)
    labels, scores, forbidden, calibration = run.solve(model_id)
    by_key = {a.key: a for a in explain(ordered, labels, scores, forbidden)}
    return Association(
        assignments=[by_key[t.key] for t in tracklets],
        calibration=calibration,
        transits=_transits(ordered, labels),
    )


class _Run:
    """The tracklets of a run in order of time, and all that does not change between passes."""

    def __init__(self, tracklets: Sequence[Tracklet], config: AssociationConfig) -> None:
        self.tracklets = tracklets
        self.config = config
        self.frames = np.array([t.observations for t in tracklets], np.int64)
        self.camera = camera_index(tracklets)
        self.names = sorted({t.camera_id for t in tracklets})
        self.hard = seen_at_once(tracklets)
        self.soft = overlapping(tracklets) & ~self.hard
        self.starts = np.array([t.start_ns for t in tracklets], np.int64)
        self.shared = shared_seconds(tracklets)
        size = next((t.embeddings.shape[1] for t in tracklets if len(t.embeddings)), 1)
        self.looks = looks_of([(t.embeddings, t.qualities) for t in tracklets], size)
        blind = np.linalg.norm(self.looks.mean, axis=1) == 0
        self.blind = blind[:, None] | blind[None, :]
        split = [(i, masks) for i, t in enumerate(tracklets) if (masks := halves(t)) is not None]
        self.split = np.array([i for i, _ in split], np.int64)
        self.ends = [
            looks_of(
                [
                    (tracklets[i].embeddings[masks[end]], tracklets[i].qualities[masks[end]])
                    for i, masks in split
                ],
                size,
            )
            for end in (0, 1)
        ]

    def solve(
        self, model_id: str
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_], Calibration]:
        """Return labels, similarities, forbidden pairs and calibration of the last pass."""
        zero = np.zeros_like(self.looks.mean)
        out = self._pass(model_id, zero, _RAW_IMPOSTOR, len(self.tracklets), {})
        for _ in range(_CENTRED_PASSES if len(self.tracklets) > 1 else 0):
            shift = centres(self.looks.mean, self.camera, out[0])[self.camera]
            # With n people around their common centre, two of them are at -1 / (n - 1) on average;
            # the centre is kept in part, so what remains is between that and the raw value.
            people = len(np.unique(out[0]))
            prior = _RAW_IMPOSTOR / (1.0 + people)
            transits = _transits(self.tracklets, out[0])
            out = self._pass(model_id, shift, prior, people, transits)
        return out

    def _pass(
        self,
        model_id: str,
        shift: NDArray[np.float64],
        impostor_prior: float,
        rivals: int,
        transits: Mapping[tuple[str, str], Sequence[float]],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_], Calibration]:
        looks = centred(self.looks, shift)
        scores = similarity(looks, looks)
        upper = np.triu(np.ones(scores.shape, np.bool_), 1) & ~self.blind
        impostors = scores[upper & self.hard]
        within = self.camera[:, None] == self.camera[None, :]
        a, b = (centred(end, shift[self.split]) for end in self.ends)
        ends = paired_similarity(a, b)
        best = mutual_best(scores, self.camera, -1.0)
        model = calibrate.fit(
            impostors,
            ends,
            scores[upper & ~within],
            impostor_prior=impostor_prior,
            transfer=calibrate.ACROSS,
            rivals=rivals,
            best=scores[upper & best],
        )
        returning = calibrate.fit(
            impostors,
            ends,
            scores[upper & within & ~self.hard],
            impostor_prior=impostor_prior,
            transfer=calibrate.RETURN,
            rivals=rivals,
        )
        # One camera shows a person, and two people, more alike than two cameras do.
        if returning.threshold < model.threshold:
            returning = replace(returning, threshold=model.threshold)
        evidence, impossible = presence_evidence(
            scores, self.camera, self.names, self.shared, model.threshold, self.config
        )
        haste, too_fast = travel_evidence(
            self.camera, self.names, self.shared, self.starts, transits, self.config
        )
        evidence += haste - np.where(self.soft, _OVERLAP, np.float32(0))
        forbidden = self.hard | impossible | too_fast | self.blind
        np.fill_diagonal(forbidden, False)
        weights = np.where(within, returning.log_odds(scores), model.log_odds(scores)) + evidence
        labels = refine(weights, forbidden, average_linkage(weights, forbidden))
        labels, out = reunite(weights, forbidden, labels, self.frames)
        labels = refine(weights, forbidden, labels, movable=out)
        return labels, scores, forbidden, calibrate.report(model, model_id, impostors, ends)


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
