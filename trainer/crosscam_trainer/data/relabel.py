"""Labels that were made inside each camera only: the setting of CCAFL, from any data set.

"Intra-camera supervised" re-identification (CCAFL, Tan et al., TCSVT 2025, section III) knows who
is who inside a camera and nothing across cameras: the same person in two cameras has two unrelated
labels. Such labels cost a fraction of the work, and are what `crosscam harvest` gives for free.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from crosscam_trainer.data.types import IntraCameraLabels, ReIDData, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def as_intra_camera(data: ReIDData, truth: Mapping[tuple[int, int], int] | None = None) -> ReIDData:
    """Forget which training people are the same in different cameras.

    With `N_c` people in camera `c`, numbered ``y = 0 … N_c - 1`` in the order of their old labels,
    the new label is the accumulated ``g = y + N_0 + … + N_(c-1)``. Clothes are numbered anew inside
    each `g`, since an outfit that is known in two cameras would give away the person.

    Query, gallery and validation keep their people under new numbers behind those of the training
    split; nothing that is evaluated changes.

    Args:
        data: Any data set; one with such labels already is returned as it is.
        truth: Person behind each ``(camera, person)`` of the training split; pairs without entry
            are unknown. By default the old label is the truth.

    Returns:
        The same pictures with new labels, and `ReIDData.intra` set.
    """
    if data.intra is not None:
        return data
    pairs = sorted({(sample.camera, sample.person) for sample in data.train})
    label = {pair: number for number, pair in enumerate(pairs)}
    counts = [0] * len(data.cameras)
    for camera, _ in pairs:
        counts[camera] += 1
    offsets = [0]
    for count in counts:
        offsets.append(offsets[-1] + count)
    if truth is None:
        truth = {pair: pair[1] for pair in pairs}
    tested = _people_tested(data)
    test_label = {old: len(pairs) + number for number, old in enumerate(tested)}

    def relabelled(split: str, sample: Sample) -> Sample:
        if split == "train":
            return replace(sample, person=label[sample.camera, sample.person])
        return replace(sample, person=test_label.get(sample.person, sample.person))

    local = replace(
        data.mapped(relabelled),
        people=(
            *(f"{data.cameras[camera]}/{data.people[person]}" for camera, person in pairs),
            *(data.people[person] for person in tested),
        ),
        train_people=len(pairs),
        intra=IntraCameraLabels(tuple(offsets), tuple(truth.get(pair, -1) for pair in pairs)),
    )
    return _clothes_inside_people(local, pairs)


def _people_tested(data: ReIDData) -> list[int]:
    """Old labels of everybody outside the training split, ascending, without distractors."""
    return sorted(
        {
            sample.person
            for name, samples in data.splits().items()
            if name != "train"
            for sample in samples
            if sample.person >= 0
        }
    )


def _clothes_inside_people(local: ReIDData, pairs: Sequence[tuple[int, int]]) -> ReIDData:
    """Number clothes by (new person, old clothes); those of the training split first."""
    numbers: dict[tuple[int, int], int] = {}
    train_clothes = 0
    for name, samples in local.splits().items():
        worn = {(s.person, s.clothes) for s in samples if s.clothes is not None}
        for pair in sorted(worn - numbers.keys()):
            numbers[pair] = len(numbers)
        if name == "train":
            train_clothes = len(numbers)

    def dressed(_split: str, sample: Sample) -> Sample:
        if sample.clothes is None:
            return sample
        return replace(sample, clothes=numbers[sample.person, sample.clothes])

    # A name is "person/outfit"; in the training split the camera comes before it, as in `people`.
    names = tuple(
        f"{local.cameras[pairs[person][0]]}/{local.clothes[clothes]}"
        if person < len(pairs)
        else local.clothes[clothes]
        for person, clothes in numbers
    )
    return replace(local.mapped(dressed), clothes=names, train_clothes=train_clothes)
