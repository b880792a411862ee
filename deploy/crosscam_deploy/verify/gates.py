"""Which builds may be used: what a row must reach, and why one does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.verify.types import EmbedAccuracy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crosscam_deploy.verify.types import Accuracy, DetectAccuracy, Gates, Speed

_ROUNDING = 1e-9  # of sums in another order: a change of exactly the limit is within it


def refusals(gates: Gates, accuracy: Accuracy, speed: Sequence[Speed] = ()) -> tuple[str, ...]:
    """Return why a candidate may not be used; nothing when it may.

    Args:
        gates: What is asked.
        accuracy: What its answers are worth.
        speed: How fast it is, for `Gates.min_ratio`.
    """
    judged = (
        _embed(gates, accuracy) if isinstance(accuracy, EmbedAccuracy) else _detect(gates, accuracy)
    )
    return (*judged, *_speed(gates, speed))


def _embed(gates: Gates, found: EmbedAccuracy) -> Iterator[str]:
    if found.cosine_mean is None and found.mean_ap_change is None:
        yield (
            "nothing to judge it by: it is not built from the reference, so vectors cannot be "
            "compared, and the crops have no labels"
        )
    yield from _below("mean cosine to the reference", found.cosine_mean, gates.min_cosine_mean)
    yield from _below("cosine of the worst crop", found.cosine_min, gates.min_cosine)
    yield from _below("top-1 agreement", found.top1_agreement, gates.min_top1_agreement)
    yield from _dropped("mAP", found.mean_ap_change, gates.max_mean_ap_drop)
    yield from _dropped("rank-1", found.rank1_change, gates.max_rank1_drop, found.queries)


def _detect(gates: Gates, found: DetectAccuracy) -> Iterator[str]:
    if found.people == 0:
        yield "nothing to judge it by: nobody is in the frames"
    yield from _dropped("average precision", found.average_precision_change, gates.max_ap_drop)
    yield from _dropped("recall", found.recall_change, gates.max_recall_drop, found.people)
    yield from _below("boxes in common with the reference", found.agreement, gates.min_agreement)


def _speed(gates: Gates, speed: Sequence[Speed]) -> Iterator[str]:
    for each in speed:
        if each.ratio is not None and gates.min_ratio is not None and each.ratio < gates.min_ratio:
            yield (
                f"{each.ratio:.2f} times as fast as the baseline at batch {each.batch}, "
                f"at least {gates.min_ratio:g} asked for"
            )


def _below(what: str, value: float | None, least: float | None) -> Iterator[str]:
    if value is not None and least is not None and value < least - _ROUNDING:
        yield f"{what} {value:.4f}, at least {least:g} asked for"


def _dropped(
    what: str, change: float | None, most: float | None, number: int | None = None
) -> Iterator[str]:
    """Refuse a loss above the gate, unless it is of one of a `number` of queries or boxes only."""
    if change is None or most is None:
        return
    one = 1 / number if number else 0.0
    if -change > max(most, one) + _ROUNDING:
        yield f"{what} fell by {-100 * change:.2f} points, at most {100 * most:g} allowed"
