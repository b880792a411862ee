"""Samplers: what an epoch covers, what a batch holds, ranks, and exact resumption."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.data.samplers import (
    CameraSampler,
    EpochSampler,
    InOrder,
    PersonSampler,
    Shuffled,
)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Labels with gaps, in any order, with at least as many labels as people a batch."""
    counts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    labels = np.repeat(np.arange(len(counts)) * 3 + 1, counts)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))
    return labels[order], draw(st.integers(1, len(counts))), draw(st.integers(1, 5))


@given(labelled(), st.sampled_from(["pictures", "people"]), st.integers(0, 5))
def test_person_batches(data: tuple[np.ndarray, int, int], covers: Any, epoch: int) -> None:
    labels, people, pictures = data
    sampler = PersonSampler(labels, people, pictures, covers=covers, seed=3)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for batch in batches:
        groups = np.array(batch).reshape(people, pictures)
        names = labels[groups]
        assert (names == names[:, :1]).all()
        assert len(set(names[:, 0])) == people
        for group in groups:
            # Nothing comes again while something of the label has not come as often.
            available = int((labels == labels[group[0]]).sum())
            most, least = -(-pictures // available), pictures // available
            times = Counter(group.tolist())
            assert max(times.values()) <= most
            assert len(times) == min(available, pictures)
            assert least == 0 or min(times.values()) >= least
    seen = {position for batch in batches for position in batch}
    if covers == "pictures":
        assert seen == set(range(len(labels)))
        assert len(sampler) >= -(-len(labels) // (people * pictures))
    else:
        assert set(labels[list(seen)]) == set(labels)
        assert len(sampler) == -(-len(set(labels.tolist())) // people)


@given(labelled(), st.integers(2, 4))
def test_pictures_come_from_as_many_groups_as_possible(
    data: tuple[np.ndarray, int, int], cameras: int
) -> None:
    labels, people, pictures = data
    across = np.random.default_rng(len(labels)).integers(0, cameras, len(labels))
    sampler = PersonSampler(labels, people, pictures, across=across, covers="people")
    for batch in sampler:
        for group in np.array(batch).reshape(people, pictures):
            of_label = labels == labels[group[0]]
            possible = min(len(set(across[of_label])), pictures)
            assert len(set(across[group])) == possible


@given(labelled(), st.integers(1, 4), st.integers(1, 9))
def test_camera_batches(data: tuple[np.ndarray, int, int], cameras: int, people: int) -> None:
    labels, _, pictures = data
    camera = np.random.default_rng(len(labels)).integers(0, cameras, len(labels))
    sampler = CameraSampler(labels, camera, people, pictures)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for batch in batches:
        assert len(set(camera[batch])) == 1
        groups = labels[np.array(batch).reshape(people, pictures)]
        assert (groups == groups[:, :1]).all()
        there = len(set(labels[camera == camera[batch[0]]]))
        if there >= people:
            assert len(set(groups[:, 0])) == people
    assert {position for batch in batches for position in batch} == set(range(len(labels)))


def test_a_small_camera_repeats_labels_evenly() -> None:
    sampler = CameraSampler([0, 0, 1, 1, 2, 2], [0] * 6, people=6, pictures=2)
    (batch,) = list(sampler)
    labels = np.array([0, 0, 1, 1, 2, 2])[np.array(batch)]
    assert Counter(labels.tolist()) == {0: 4, 1: 4, 2: 4}


def _samplers(rank: int = 0, world_size: int = 1, seed: int = 0) -> list[EpochSampler]:
    labels = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 6, 7, 8, 9, 30])
    cameras = np.arange(len(labels)) % 3
    shared: dict[str, Any] = {"rank": rank, "world_size": world_size, "seed": seed}
    return [
        PersonSampler(labels, 4, 3, **shared),
        PersonSampler(labels, 4, 3, across=cameras, covers="people", batches=11, **shared),
        CameraSampler(labels, cameras, 4, 2, **shared),
        Shuffled(len(labels), 12, **shared),
        Shuffled(5, 12, batches=3, **shared),
    ]


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_divide_the_batches_of_one_process(which: int, world_size: int) -> None:
    whole = _samplers()[which]
    parts = [_samplers(rank, world_size)[which] for rank in range(world_size)]
    for _ in range(2):
        together = [list(sampler) for sampler in parts]
        for k, batch in enumerate(whole):
            assert batch == [position for part in together for position in part[k]]
            assert len({len(part[k]) for part in together}) == 1


def test_ranks_share_no_person_and_no_picture_of_a_batch() -> None:
    labels = np.repeat(np.arange(12), 5)
    first, second = (
        list(PersonSampler(labels, 4, 5, rank=rank, world_size=2)) for rank in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert not set(labels[a]) & set(labels[b])


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("stop", [0, 1, 7, 20])
def test_resumed_equals_uninterrupted(which: int, stop: int) -> None:
    straight = _samplers()[which]
    expected = [batch for _ in range(30) for batch in straight][: stop + 25]
    first = _samplers()[which]
    done = []
    while len(done) < stop:
        for batch in first:
            done.append(batch)
            if len(done) == stop:
                break
    second = _samplers()[which]
    second.load_state_dict(first.state_dict())
    while len(done) < stop + 25:
        done += list(second)
    assert done[: stop + 25] == expected


def test_a_loader_that_read_ahead_resumes_where_training_was() -> None:
    first, second, straight = (_samplers()[0] for _ in range(3))
    ahead = iter(first)
    for _ in range(6):
        next(ahead)
    second.load_state_dict(first.state_dict(done=2))
    assert list(second) == list(straight)[2:]


def test_resuming_on_another_number_of_ranks() -> None:
    first, straight = _samplers()[0], _samplers()[0]
    next(iter(first))
    parts = [_samplers(rank, 2)[0] for rank in range(2)]
    for part in parts:
        part.load_state_dict(first.state_dict())
    joined = [a + b for a, b in zip(*parts, strict=True)]
    assert joined == list(straight)[1:]


def test_epochs_and_seeds_differ() -> None:
    for a, b in zip(_samplers(), _samplers(seed=1), strict=True):
        one, two = list(a), list(a)
        assert one != two
        assert one != list(b)
        a.set_epoch(0)
        assert list(a) == one


def test_a_state_of_other_data_is_refused() -> None:
    labels = np.repeat(np.arange(4), 4)
    state = PersonSampler(labels, 2, 2).state_dict()
    others = [
        PersonSampler(np.roll(labels, 1), 2, 2),
        PersonSampler(labels, 2, 4),
        PersonSampler(labels, 2, 2, across=labels % 2),
        PersonSampler(labels, 2, 2, seed=1),
        PersonSampler(labels, 2, 2, batches=3),
        CameraSampler(labels, labels % 2, 2, 2),
    ]
    for other in others:
        with pytest.raises(InputError, match="state has"):
            other.load_state_dict(state)
    fits = PersonSampler(labels, 2, 2)
    with pytest.raises(InputError, match="batch 99"):
        fits.load_state_dict({**state, "batches": 99})


def test_wrong_use_is_told() -> None:
    labels = [0, 0, 1, 1]
    with pytest.raises(UsageError, match="3 people a batch for 2 processes"):
        PersonSampler(labels, 3, 1, world_size=2)
    with pytest.raises(UsageError, match="but 2 in the data"):
        PersonSampler(labels, 3, 1)
    with pytest.raises(UsageError, match="rank 2 of 2"):
        PersonSampler(labels, 2, 1, rank=2, world_size=2)
    with pytest.raises(UsageError, match="3 groups for 4 labels"):
        PersonSampler(labels, 2, 1, across=[0, 1, 0])
    with pytest.raises(InputError, match="float64"):
        PersonSampler([0.5, 1.5], 1, 1)
    with pytest.raises(InputError, match="at least one"):
        PersonSampler([], 1, 1)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5))
def test_in_order_is_everything_once(number: int, batch_size: int, world_size: int) -> None:
    parts = [InOrder(number, batch_size, rank=r, world_size=world_size) for r in range(world_size)]
    batches = [list(part) for part in parts]
    assert [len(part) for part in parts] == [len(rows) for rows in batches]
    assert [k for rows in batches for batch in rows for k in batch] == list(range(number))
    assert all(len(batch) <= batch_size for rows in batches for batch in rows)


@given(st.integers(1, 50), st.integers(1, 20))
def test_shuffled_covers_all_with_full_batches(number: int, batch_size: int) -> None:
    batches = list(Shuffled(number, batch_size))
    assert {len(batch) for batch in batches} == {batch_size}
    times = Counter(position for batch in batches for position in batch)
    assert set(times) == set(range(number))
    assert max(times.values()) - min(times.values()) <= 1
