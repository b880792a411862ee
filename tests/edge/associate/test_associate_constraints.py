"""The hard rule: who is seen at once is two people, but for ends that no crop confirms."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.associate.constraints import UNSURE_S, overlapping, seen_at_once
from crosscam_edge.types import Tracklet

S = 10**9


def tracklet(
    track: int, start: float, end: float, sure: tuple[float, float] | None = None, camera: str = "a"
) -> Tracklet:
    return Tracklet(
        camera, track, int(start * S), int(end * S), int(start * 10), int(end * 10), 10,
        np.zeros(4, np.float32), np.zeros(4, np.float32), (640, 480),
        np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32),
        sure_ns=None if sure is None else (int(sure[0] * S), int(sure[1] * S)),
    )  # fmt: skip


def together(a: Tracklet, b: Tracklet) -> bool:
    both = seen_at_once([a, b])
    assert not both.diagonal().any()
    assert both[0, 1] == both[1, 0]
    return bool(both[0, 1])


def test_without_doubt_one_shared_moment_is_enough() -> None:
    assert together(tracklet(1, 0, 5), tracklet(2, 5, 9))
    assert not together(tracklet(1, 0, 5), tracklet(2, 5.01, 9))
    assert not together(tracklet(1, 0, 5), tracklet(2, 2, 9, camera="b"))


def test_an_end_that_no_crop_confirms_does_not_bind() -> None:
    old, new = tracklet(1, 0, 5, (0, 3.8)), tracklet(2, 4, 9, (4.2, 9))
    assert not together(old, new)
    assert overlapping([old, new])[0, 1]
    assert together(tracklet(1, 0, 5, (0, 4.5)), new)


def test_only_so_much_of_an_end_can_be_unsure() -> None:
    old = tracklet(1, 0, 10, (0, 1))  # nine seconds without a crop: still somebody was there
    assert together(old, tracklet(2, 7, 12, (7, 12)))
    assert not together(old, tracklet(2, 10 - UNSURE_S + 0.1, 12, (10 - UNSURE_S + 0.1, 12)))


@given(
    st.lists(
        st.tuples(st.floats(0, 50), st.floats(0, 9), st.floats(0, 1), st.floats(0, 1)),
        min_size=2,
        max_size=8,
    )
)
def test_the_rule_never_reaches_beyond_the_spans(
    spans: list[tuple[float, float, float, float]],
) -> None:
    tracklets = []
    for k, (start, length, a, b) in enumerate(spans):
        first, last = sorted((start + a * length, start + b * length))
        tracklets.append(tracklet(k, start, start + length, (first, last)))
    hard, any_ = seen_at_once(tracklets), overlapping(tracklets)
    assert not (hard & ~any_).any()
    assert (hard == hard.T).all()
    # without doubt the two rules are one
    plain = [tracklet(k, s, s + n) for k, (s, n, _, _) in enumerate(spans)]
    assert (seen_at_once(plain) == overlapping(plain)).all()
