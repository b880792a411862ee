"""How the answers of a candidate compare with those of the reference, and with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosscam_deploy.detection_scores import Found, judge
from crosscam_deploy.verify.answers import RUN_SCORE, in_common
from crosscam_deploy.verify.types import DetectAccuracy, EmbedAccuracy
from crosscam_kernels.ops import retrieval_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.detections import Detections
    from crosscam_deploy.verify.data import CropSet, FrameSet, VerifyData

    Rows = NDArray[np.float32]

_BLOCK = 1024


class Retrieval(NamedTuple):
    """Means over the sets, in [0, 1], and how many queries had a right answer."""

    mean_ap: float
    rank1: float
    queries: int


def embed_accuracy(
    rows: Rows, reference: Rows, data: VerifyData, *, same_space: bool
) -> EmbedAccuracy:
    """Compare embeddings.

    Args:
        rows: `(N, D)` unit vectors of the candidate, of `data.files()`.
        reference: `(N, E)` unit vectors of the reference.
        data: Crops.
        same_space: Whether both are the same model in different numbers, so that the vectors
            themselves may be compared.
    """
    cosine = None
    if same_space and rows.shape == reference.shape:
        cosine = np.einsum("nd,nd->n", rows, reference, dtype=np.float64)
    mine, theirs = retrieval(rows, data), retrieval(reference, data)
    known = mine is not None and theirs is not None
    return EmbedAccuracy(
        crops=len(rows),
        cosine_mean=None if cosine is None else float(cosine.mean()),
        cosine_min=None if cosine is None else float(cosine.min()),
        top1_agreement=_agreement(rows, reference, data),
        queries=mine.queries if mine else None,
        mean_ap=mine.mean_ap if mine else None,
        rank1=mine.rank1 if mine else None,
        mean_ap_change=mine.mean_ap - theirs.mean_ap if known and mine and theirs else None,
        rank1_change=mine.rank1 - theirs.rank1 if known and mine and theirs else None,
    )


def retrieval(rows: Rows, data: VerifyData) -> Retrieval | None:
    """Return mAP and rank-1, each the mean over the sets; None when a set is not labelled.

    Where cameras are known, pictures of the same person by the same camera are ignored; elsewhere
    only the picture itself is.

    Args:
        rows: `(N, D)` unit vectors of `data.files()`.
        data: Crops.
    """
    found = []
    for each, part in _parts(rows, data):
        if not each.labelled:
            return None
        query, gallery = each.side("query"), each.side("gallery")
        person = _numbers([crop.person or "" for crop in each.crops])
        taken = _cameras(each)
        if taken is not None:
            metrics = retrieval_metrics(
                part[query],
                part[gallery],
                person[query],
                person[gallery],
                taken[query],
                taken[gallery],
            )
        else:
            metrics = retrieval_metrics(
                part[query],
                part[gallery],
                person[query],
                person[gallery],
                protocol="tracklet",
                query_tracklets=query,
                gallery_tracklets=gallery,
            )
        if not metrics.valid_queries:
            return None
        found.append(Retrieval(metrics.mean_ap, metrics.rank(1), metrics.valid_queries))
    return Retrieval(
        float(np.mean([each.mean_ap for each in found])),
        float(np.mean([each.rank1 for each in found])),
        sum(each.queries for each in found),
    )


def detect_accuracy(
    boxes: Sequence[Detections], reference: Sequence[Detections], data: VerifyData
) -> DetectAccuracy:
    """Compare boxes.

    Args:
        boxes: Of the candidate, for each of `data.files()`.
        reference: Of the reference. Where frames have no labels, its boxes with scores that a run
            looks at are taken for the truth.
        data: Frames.
    """
    labelled = all(each.truth is not None for each in data.frames)
    if labelled:
        people = [rows for each in data.frames for rows in each.truth or ()]
        ignored = [rows for each in data.frames for rows in _ignored(each)]
    else:
        people = [each.xyxy[each.confidence >= RUN_SCORE] for each in reference]
        ignored = [np.zeros(len(rows), bool) for rows in people]

    def scored(detections: Sequence[Detections]) -> tuple[float, float, int]:
        scores = judge(
            [
                Found(each.xyxy, each.confidence, truth, skipped)
                for each, truth, skipped in zip(detections, people, ignored, strict=True)
            ]
        )
        return scores.average_precision, scores.recall, scores.people

    precision, recall, asked = scored(boxes)
    expected_precision, expected_recall, _ = scored(reference)
    return DetectAccuracy(
        frames=len(boxes),
        people=asked,
        truth="labels" if labelled else "reference",
        average_precision=precision,
        recall=recall,
        average_precision_change=precision - expected_precision,
        recall_change=recall - expected_recall,
        agreement=in_common(boxes, reference),
    )


def _ignored(frames: FrameSet) -> Sequence[NDArray[np.bool_]]:
    if frames.ignored is not None:
        return frames.ignored
    return [np.zeros(len(rows), bool) for rows in frames.truth or ()]


def _parts(rows: Rows, data: VerifyData) -> Iterator[tuple[CropSet, Rows]]:
    begin = 0
    for each in data.crops:
        yield each, rows[begin : begin + len(each.crops)]
        begin += len(each.crops)


def _numbers(names: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each name, the same for equal ones."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _cameras(crops: CropSet) -> NDArray[np.int64] | None:
    """Return a number for the camera of each crop; None unless all are known, and several."""
    names = [crop.camera for crop in crops.crops]
    if None in names or len(set(names)) < 2:
        return None
    return _numbers([name or "" for name in names])


def _agreement(rows: Rows, reference: Rows, data: VerifyData) -> float | None:
    """Return the share of queries whose nearest picture is the same; None without queries.

    Pictures by the same camera are left out where cameras are known.
    """
    same, queries = 0, 0
    both = zip(_parts(rows, data), _parts(reference, data), strict=True)
    for (each, mine), (_, theirs) in both:
        query, gallery = each.side("query"), each.side("gallery")
        taken = _cameras(each)
        for start in range(0, len(query), _BLOCK):
            some = query[start : start + _BLOCK]
            out = some[:, None] == gallery[None, :]
            if taken is not None:
                out |= taken[some][:, None] == taken[gallery][None, :]
            best = []
            for vectors in (mine, theirs):
                likeness = vectors[some] @ vectors[gallery].T
                likeness[out] = -np.inf
                best.append(likeness.argmax(1))
            asked = ~out.all(1)
            same += int(((best[0] == best[1]) & asked).sum())
            queries += int(asked.sum())
    return same / queries if queries else None
