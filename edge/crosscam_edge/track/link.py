"""Joins the fragments of one person inside one camera, after the fact.

The tracker gives up a track when nothing it sees can continue it. Afterwards more is known: the
whole looks of both fragments, where the second one came from, and where in this picture people
really come and go. Joining is a one-to-one assignment of ends to beginnings under that evidence; it
is conservative, for a wrong join cannot be undone later while a missed one is mended by
association.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crosscam_edge.boxes import at_border
from crosscam_edge.track.appearance import AppearanceScale
from crosscam_edge.track.doubt import DOUBT
from crosscam_edge.track.matching import assign
from crosscam_edge.track.motion import MotionModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """How far fragments may lie apart and how sure a join must be.

    Attributes:
        max_gap_s: Longest time between two fragments.
        max_overlap_s: Fragments may overlap by this much (a double box at the change-over) ...
        overlap_penalty: ... which speaks against a join, in nats.
        min_evidence: Least log-likelihood ratio of a join, in nats.
        blind_evidence: The same when one fragment has no embedding.
        blind_gap_s: Longest gap that is joined without looks.
        min_similarity_quantile: Looks must be at least as alike as this quantile of this camera's
            genuine pairs (the two halves of a tracklet).
    """

    max_gap_s: float = 10.0
    max_overlap_s: float = 1.0
    overlap_penalty: float = 2.0
    min_evidence: float = 4.0
    blind_evidence: float = 4.0
    blind_gap_s: float = 1.0
    min_similarity_quantile: float = 0.05


def mean_embedding(tracklet: Tracklet, part: slice | NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the quality-weighted, normalised mean `(D,)` of a part of a tracklet's exemplars."""
    mean = tracklet.qualities[part] @ tracklet.embeddings[part]
    out: NDArray[np.float32] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return out


def calibrate(tracklets: Sequence[Tracklet]) -> tuple[AppearanceScale, NDArray[np.float64]]:
    """Learn this camera's similarities from its own tracklets.

    Tracklets seen at the same time are certainly different people; the earlier and the later half
    of one tracklet's exemplars are certainly one.

    Returns:
        The learned scale and the `(K,)` sorted genuine similarities.
    """
    scale = AppearanceScale()
    seen = [t for t in tracklets if len(t.embeddings) >= 4]
    genuine = []
    for t in seen:
        order = np.argsort(t.embedding_times_ns, kind="stable")
        half = len(order) // 2
        first, second = np.zeros(len(order), np.bool_), np.zeros(len(order), np.bool_)
        first[order[:half]], second[order[half:]] = True, True
        genuine.append(float(mean_embedding(t, first) @ mean_embedding(t, second)))
    whole = [mean_embedding(t, slice(None)) for t in seen]
    impostor = [
        float(whole[i] @ whole[j])
        for i in range(len(seen))
        for j in range(i)
        if seen[i].start_ns <= seen[j].end_ns and seen[j].start_ns <= seen[i].end_ns
    ]
    scale.learn_genuine(np.array(genuine))
    scale.learn_impostor(np.array(impostor))
    return scale, np.sort(np.array(genuine, np.float64))


def _centre(box: NDArray[np.floating]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.stack([box[..., 0] + box[..., 2], box[..., 1] + box[..., 3]], -1)
    return out / 2


def _busy(places: NDArray[np.float64], at: NDArray[np.float64], reach: float) -> float:
    """Count how many of `places` `(K, 2)` lie within `reach` of `at`, apart from itself."""
    return float((np.linalg.norm(places - at, axis=1) < reach).sum() - 1)


def pair_evidence(
    before: Tracklet, after: Tracklet, *, motion: MotionModel, picture: float
) -> float:
    """Return the motion evidence that `after` continues `before`, in nats.

    The end of one is extrapolated forwards and the beginning of the other backwards, both with
    velocities that fade, and meet in the middle.
    """
    signed = (after.start_ns - before.end_ns) / 1e9  # negative when they overlap
    gap = max(abs(signed), 1e-3)
    tau, half = motion.memory, gap / 2
    reach = float(np.copysign(tau * (1 - np.exp(-half / tau)), signed))
    height = float((before.exit_box[3] - before.exit_box[1]) / 2) + float(
        (after.entry_box[3] - after.entry_box[1]) / 2
    )
    height = max(height, 1.0)
    end = _centre(before.exit_box) + before.exit_velocity * reach
    begin = _centre(after.entry_box) - after.entry_velocity * reach
    # Spread of the position after `gap` when the velocity at both ends is known only roughly.
    wander = tau * tau * (gap - 2 * tau * (1 - np.exp(-gap / tau)))
    wander = 2 * motion.speed**2 / tau * max(wander + tau**3 / 2 * (1 - np.exp(-2 * gap / tau)), 0)
    variance = height**2 * (wander / 2 + 2 * motion.noise**2 + 0.01)
    distance = float(np.sum(np.square(end - begin)))
    size = float(
        np.log(
            max(after.entry_box[3] - after.entry_box[1], 1)
            / max(before.exit_box[3] - before.exit_box[1], 1)
        )
    )
    size_sd = 0.12 + 0.05 * gap
    return float(
        -0.5 * distance / variance
        + float(np.log(picture / (2 * np.pi * variance)))
        - 0.5 * (size / size_sd) ** 2
        + float(np.log(np.log(20.0) / (np.sqrt(2 * np.pi) * size_sd)))
    )


def told_apart(tracklets: Mapping[int, Tracklet]) -> Callable[[int, int], bool]:
    """Return a function that says of two track ids whether their looks are of two people.

    Args:
        tracklets: All of one camera by track id; one without embeddings looks like nobody else.
    """
    scale = calibrate(list(tracklets.values()))[0] if tracklets else AppearanceScale()

    def differ(a: int, b: int) -> bool:
        first, second = (tracklets.get(key) for key in (a, b))
        if first is None or second is None:
            return False
        if not len(first.embeddings) or not len(second.embeddings):
            return False
        alike = mean_embedding(first, slice(None)) @ mean_embedding(second, slice(None))
        return float(scale.evidence(np.array(alike))) < DOUBT

    return differ


class _Camera:
    """The tracklets of one camera, and what is learned from all of them."""

    def __init__(
        self, tracklets: Sequence[Tracklet], config: LinkConfig, motion: MotionModel
    ) -> None:
        self.tracklets = tracklets
        self.config = config
        self.motion = motion
        self.scale, genuine = calibrate(tracklets)
        self.least = -1.0
        if len(genuine) >= 8:
            self.least = float(np.quantile(genuine, config.min_similarity_quantile))
        self.means = [
            mean_embedding(t, slice(None)) if len(t.embeddings) else None for t in tracklets
        ]
        self.begins = _centre(np.stack([t.entry_box for t in tracklets]))
        self.ends = _centre(np.stack([t.exit_box for t in tracklets]))
        self.came_in = [bool(at_border(t.entry_box[None], t.image_size)[0]) for t in tracklets]
        self.went_out = [bool(at_border(t.exit_box[None], t.image_size)[0]) for t in tracklets]

    def candidates(self) -> Iterator[tuple[int, int]]:
        """Yield the pairs of which the second could continue the first, by their times."""
        config = self.config
        start = np.array([t.start_ns for t in self.tracklets], np.int64)
        order = np.argsort(start, kind="stable")
        for i, before in enumerate(self.tracklets):
            earliest = before.end_ns - round(config.max_overlap_s * 1e9)
            latest = before.end_ns + round(config.max_gap_s * 1e9)
            low, high = np.searchsorted(start[order], (earliest, latest), side="right")
            for j in order[low:high].tolist():
                after = self.tracklets[j]
                if i == j or not (
                    before.start_frame < after.start_frame and before.end_frame < after.end_frame
                ):
                    continue
                yield i, j

    def evidence(self, i: int, j: int) -> float:
        """Return the evidence that tracklet `j` continues `i`, in nats; -inf when it cannot."""
        config = self.config
        before, after = self.tracklets[i], self.tracklets[j]
        gap = (after.start_ns - before.end_ns) / 1e9
        if (self.went_out[i] or self.came_in[j]) and gap > config.blind_gap_s:
            return -np.inf
        picture = float(np.prod(before.image_size))
        value = pair_evidence(before, after, motion=self.motion, picture=picture)
        if after.start_frame <= before.end_frame:
            value -= config.overlap_penalty
        height = float(before.exit_box[3] - before.exit_box[1])
        # Where others came and went too is a door, and a door explains both without a join.
        doors = _busy(self.begins, self.begins[j], height) + _busy(self.ends, self.ends[i], height)
        value -= float(np.log1p(doors))
        a, b = self.means[i], self.means[j]
        if a is None or b is None:
            if gap > config.blind_gap_s:
                return -np.inf
            return value - (config.blind_evidence - config.min_evidence)
        similarity = float(a @ b)
        if similarity < self.least:
            return -np.inf
        return value + float(self.scale.evidence(np.array(similarity)))


def link(
    tracklets: Sequence[Tracklet],
    config: LinkConfig | None = None,
    *,
    motion: MotionModel | None = None,
) -> dict[int, int]:
    """Find fragments of one person among the finished tracklets of one camera.

    Args:
        tracklets: All of one camera, in any order.
        config: Limits.
        motion: How people move.

    Returns:
        For every track id the id of the first fragment of its person (itself when not joined).
        Fragments that share an id follow each other; neighbours may overlap by
        `LinkConfig.max_overlap_s`.
    """
    config = config or LinkConfig()
    out = {t.track_id: t.track_id for t in tracklets}
    if len(tracklets) < 2:
        return out
    camera = _Camera(tracklets, config, motion or MotionModel())
    found = [(i, j, camera.evidence(i, j)) for i, j in camera.candidates()]
    follows = _assign_sparse(
        [pair for pair in found if pair[2] > config.min_evidence], config.min_evidence
    )
    for j in sorted(follows, key=lambda k: tracklets[k].start_ns):
        out[tracklets[j].track_id] = out[tracklets[follows[j]].track_id]
    return out


def _assign_sparse(pairs: list[tuple[int, int, float]], least: float) -> dict[int, int]:
    """Choose pairs one to one with the greatest total; returns first by second.

    Pairs that share no item are solved apart, so that a long recording costs no more per minute
    than a short one.
    """
    if not pairs:
        return {}
    first, second, value = (np.array(column) for column in zip(*pairs, strict=True))
    count = int(max(first.max(), second.max())) + 1
    graph = coo_array((np.ones(len(pairs)), (first, second + count)), (2 * count, 2 * count))
    _, group = connected_components(graph, directed=False)
    of_pair = group[first]
    out: dict[int, int] = {}
    for name in np.unique(of_pair):
        members = of_pair == name
        rows, row = np.unique(first[members], return_inverse=True)
        columns, column = np.unique(second[members], return_inverse=True)
        evidence = np.full((len(rows), len(columns)), -np.inf)
        evidence[row, column] = value[members]
        chosen = assign(evidence, least)
        out |= dict(zip(columns[chosen[1]].tolist(), rows[chosen[0]].tolist(), strict=True))
    return out
