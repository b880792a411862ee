"""How many people, pictures, cameras a data set holds, and how many it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscam_trainer.data.types import DISTRACTOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_trainer.data.types import ReIDData, Sample


SPLIT_GROUPS = ("train", "val_query", "val_gallery", "val", "query", "gallery", "test")
"""What is counted by itself: the splits, and "test" and "val" over query and gallery."""


@dataclass(frozen=True, slots=True)
class Published:
    """Figures that a complete set has.

    Attributes:
        sure: From the paper of the set or the loaders of several projects. Another number means
            that pictures are missing or do not belong.
        unsure: Only remembered or seen in one place. Another number is worth a look.
    """

    sure: dict[str, int]
    unsure: dict[str, int]


def figures(data: ReIDData, junk: int = 0) -> dict[str, int]:
    """Count.

    Args:
        data: What was read.
        junk: Pictures that were left out.

    Returns:
        ``<split>.pictures`` and ``<split>.people`` of each split that is not empty, ``.clothes``
        and ``.tracklets`` where they are labelled, ``gallery.distractors``; ``test.…`` over query
        and gallery, ``val.…`` over theirs; ``pictures``, ``people``, ``cameras``, ``clothes``,
        ``tracklets`` and ``junk`` over everything. A picture that is query and gallery counts once
        in such sums. Distractors are pictures but no people.
    """
    splits = data.splits()
    groups = {
        **splits,
        "test": _together(data.query, data.gallery),
        "val": _together(data.val_query, data.val_gallery),
    }
    counts = {"junk": junk}
    for name, samples in groups.items():
        if samples:
            for what, number in _count(samples).items():
                counts[f"{name}.{what}"] = number
    everything = _together(*splits.values())
    counts |= _count(everything)
    counts["cameras"] = len(data.cameras)
    return counts


def _together(*splits: Sequence[Sample]) -> list[Sample]:
    return list({sample.path: sample for split in splits for sample in split}.values())


def _count(samples: Sequence[Sample]) -> dict[str, int]:
    counts = {
        "pictures": len(samples),
        "people": len({s.person for s in samples if s.person != DISTRACTOR}),
        "cameras": len({s.camera for s in samples}),
    }
    for what, found in (
        ("clothes", {s.clothes for s in samples} - {None}),
        ("tracklets", {s.tracklet for s in samples} - {None}),
    ):
        if found:
            counts[what] = len(found)
    distractors = sum(s.person == DISTRACTOR for s in samples)
    if distractors:
        counts["distractors"] = distractors
    return counts


def _triples(**splits: tuple[int, int]) -> dict[str, int]:
    """Figures from ``split=(people, pictures)``."""
    found = {}
    for split, (people, pictures) in splits.items():
        found[f"{split}.people"] = people
        found[f"{split}.pictures"] = pictures
    return found


PUBLISHED: dict[str, Published] = {
    # Zheng et al., ICCV 2015; counts as in the loaders of CLIP-ReID and torchreid.
    "market1501": Published(
        {
            **_triples(train=(751, 12_936), query=(750, 3_368), gallery=(750, 15_913)),
            "gallery.distractors": 2_793,
            "junk": 3_819,
            "cameras": 6,
        },
        {},
    ),
    # Zheng et al., ICCV 2017: 702 tested people and 408 more in the gallery.
    "dukemtmc": Published(
        {
            **_triples(train=(702, 16_522), query=(702, 2_228), gallery=(1_110, 17_661)),
            "cameras": 8,
        },
        {},
    ),
    # Wei et al., CVPR 2018; training is the train and val lists together.
    "msmt17": Published(
        {
            **_triples(train=(1_041, 32_621), query=(3_060, 11_659), gallery=(3_060, 82_161)),
            "cameras": 15,
        },
        {},
    ),
    # Zhong et al., CVPR 2017.
    "cuhk03-detected": Published(
        {"train.people": 767, "test.people": 700, "cameras": 2},
        {"train.pictures": 7_365, "query.pictures": 1_400, "gallery.pictures": 5_332},
    ),
    "cuhk03-labeled": Published(
        {"train.people": 767, "test.people": 700, "cameras": 2},
        {"train.pictures": 7_368, "query.pictures": 1_400, "gallery.pictures": 5_328},
    ),
    # Yang et al., TPAMI 2021: 10,800 test pictures; how they divide is from loaders.
    "prcc": Published(
        {"train.people": 150, "test.people": 71, "test.pictures": 10_800, "cameras": 3},
        {"train.pictures": 17_896, "query.pictures": 7_416, "gallery.pictures": 3_384},
    ),
    # Qian et al., ACCV 2020. The paper says 17,138 pictures, the three folders hold 17,119.
    "ltcc": Published(
        {
            "train.people": 77,
            "train.pictures": 9_576,
            "query.pictures": 493,
            "gallery.pictures": 7_050,
            "test.people": 75,
            "cameras": 12,
        },
        {"clothes": 478},
    ),
    # Wan et al., CVPRW 2020.
    "vc-clothes": Published(
        {"train.people": 256, "test.people": 256, "pictures": 19_060, "cameras": 4},
        {"train.pictures": 9_449, "query.pictures": 1_020, "gallery.pictures": 8_591},
    ),
    # Huang et al.
    "celeb-reid": Published(
        _triples(train=(632, 20_208), query=(420, 2_972), gallery=(420, 11_006)), {}
    ),
    "celeb-reid-light": Published(
        _triples(train=(490, 9_021), query=(100, 887), gallery=(100, 934)), {}
    ),
    # Xu and Zhu, ICCV 2023.
    "deepchange": Published(
        {
            "train.people": 450,
            "val.people": 150,
            "test.people": 521,
            "pictures": 178_407,
            "cameras": 17,
        },
        {},
    ),
    # Shu et al., TCSVT 2021.
    "last": Published(_triples(train=(5_000, 71_248), val=(56, 21_379), test=(5_806, 135_529)), {}),
    # Gu et al., CVPR 2022.
    "ccvid": Published(
        {"people": 226, "tracklets": 2_856},
        {"train.tracklets": 948, "query.tracklets": 834, "gallery.tracklets": 1_074},
    ),
}
"""By kind. Sets whose size is free (`site`, `simulated`, `generic`) have no entry."""
