"""Linear probes: how much of camera and clothes can still be read from frozen embeddings.

Features that are agnostic of cameras (ICAL of CCAFL) or of clothes (CFM of CCAF) leave a linear
classifier no better than chance (Alain and Bengio, "Understanding intermediate layers using linear
classifier probes", ICLR workshop 2017). Classifiers are ridge regressions onto one-hot labels,
solved in closed form, so figures depend on nothing but data and seed. People of the test fold are
never among those that a classifier was fitted on: it cannot recognise a person and answer with what
it knows of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from crosscam_kernels.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_trainer.data.types import Sample

    Labels = NDArray[np.int64]

FOLDS = 5
RIDGE = 0.1
"""Weight of the penalty, for features scaled to unit variance and means over samples."""
MOST_PAIRS = 8_000


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe found.

    Attributes:
        accuracy: Mean over the classes of the share of their samples that were recognised, in
            [0, 1]: frequent classes count as much as rare ones.
        chance: The accuracy of every classifier that does not look: 1 / number of classes.
        samples: Number of samples.
        classes: Number of classes.
    """

    accuracy: float
    chance: float
    samples: int
    classes: int


def linear_probe(
    features: NDArray[np.float32],
    labels: Labels,
    people: Labels,
    *,
    folds: int = FOLDS,
    ridge: float = RIDGE,
    seed: int = 0,
) -> Probe:
    """Predict labels from features by linear classifiers, cross-validated by person.

    For features ``x`` (standardised on the training folds) and one-hot labels ``y``, both weighted
    by ``w = 1 / (K n_class)``, a fold's classifier is ``argmax W x + b`` with

        min_W,b  sum_i w_i |W x_i + b - y_i|^2 + ridge |W|^2.

    Args:
        features: `(N, D)` float32.
        labels: `(N,)` int64, of `K` classes.
        people: `(N,)` int64; all samples of a person are in one fold.
        folds: How many; fewer when there are fewer people.
        ridge: Weight of the penalty.
        seed: Of the division into folds.

    Raises:
        ShapeError: Lengths differ.
        InputError: Fewer than two classes or two people.
    """
    if not len(features) == len(labels) == len(people):
        raise ShapeError(f"{len(features)} features, {len(labels)} labels, {len(people)} people")
    names, target = np.unique(labels, return_inverse=True)
    groups, group = np.unique(people, return_inverse=True)
    if len(names) < 2 or len(groups) < 2:
        raise InputError(
            f"a probe of {len(names)} classes over {len(groups)} people",
            expected="two or more of each",
        )
    fold = np.random.default_rng(seed).permutation(len(groups))[group] % min(folds, len(groups))
    right = np.zeros(len(target), np.bool_)
    for k in range(int(fold.max()) + 1):
        test = fold == k
        answers = _fit_and_answer(features[~test], target[~test], features[test], len(names), ridge)
        right[test] = answers == target[test]
    counts = np.bincount(target)
    accuracy = float((np.bincount(target, right) / counts).mean())
    return Probe(accuracy, 1 / len(names), len(target), len(names))


def camera_probe(
    features: NDArray[np.float32], samples: Sequence[Sample], *, seed: int = 0
) -> Probe:
    """Predict the camera of pictures of people whom the classifier has not seen.

    Args:
        features: `(N, D)` float32, one row a picture.
        samples: `N`; distractors are left out.
        seed: Of the folds.

    Raises:
        ShapeError: Lengths differ.
        InputError: Fewer than two cameras or two people.
    """
    rows, people = _people(features, samples)
    cameras = np.array([samples[k].camera for k in rows], np.int64)
    return linear_probe(features[rows], cameras, people, seed=seed)


def clothes_probe(
    features: NDArray[np.float32], samples: Sequence[Sample], *, seed: int = 0
) -> Probe:
    """Predict of two pictures of one person whether the clothes are the same.

    Outfits belong to their people, so a classifier of outfits cannot be asked about people whom it
    has not seen, and one that has seen them would recognise the person. Instead the probe sees
    ``(x_i - x_j)^2``, element by element, of two pictures of one person in different cameras, and
    people whom it was not fitted on. Cameras differ in every pair, so that they do not give the
    answer away; of each person equally many pairs of both kinds are drawn.

    Args:
        features: `(N, D)` float32, one row a picture, L2-normalised.
        samples: `N`; those without clothes label, and distractors, are left out.
        seed: Of pairs and folds.

    Raises:
        ShapeError: Lengths differ.
        InputError: Fewer than two people have pairs of both kinds.
    """
    rows, people = _people(features, samples)
    cameras = np.array([samples[k].camera for k in rows], np.int64)
    clothes = np.array([-1 if (c := samples[k].clothes) is None else c for k in rows], np.int64)
    rng = np.random.default_rng(seed)
    names = np.unique(people)
    most = max(1, MOST_PAIRS // (2 * max(1, len(names))))
    pairs, labels = [], []
    for name in names:
        own = np.flatnonzero((people == name) & (clothes >= 0))
        first, second = np.triu_indices(len(own), 1)
        first, second = own[first], own[second]
        across = cameras[first] != cameras[second]
        first, second = first[across], second[across]
        alike = clothes[first] == clothes[second]
        number = min(int(alike.sum()), int((~alike).sum()), most)
        for kind in (alike, ~alike):
            drawn = rng.permutation(np.flatnonzero(kind))[:number]
            pairs.append(np.stack([first[drawn], second[drawn]], 1))
            labels += [int(kind is alike)] * number
    chosen = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    if len(np.unique(people[chosen[:, 0]])) < 2:
        raise InputError(
            "fewer than two people are seen by several cameras both in the same and in other "
            "clothes",
            expected="labelled clothes that change, for a probe of clothes",
        )
    kept = features[rows]
    apart = np.square(kept[chosen[:, 0]] - kept[chosen[:, 1]])
    return linear_probe(apart, np.array(labels, np.int64), people[chosen[:, 0]], seed=seed)


def probe_figures(
    features: NDArray[np.float32], samples: Sequence[Sample], *, seed: int = 0
) -> dict[str, float]:
    """Return the figures of all probes that the labels allow, for logs and comparisons.

    Args:
        features: `(N, D)` float32, L2-normalised.
        samples: `N`.
        seed: Of pairs and folds.

    Returns:
        Of "camera probe", "camera chance", "clothes probe" and "clothes chance" those that can be
        computed.
    """
    figures: dict[str, float] = {}
    for name, probe in (("camera", camera_probe), ("clothes", clothes_probe)):
        try:
            found = probe(features, samples, seed=seed)
        except ShapeError:
            raise
        except InputError:  # not labelled, or one camera only: nothing to probe
            continue
        figures |= {f"{name} probe": found.accuracy, f"{name} chance": found.chance}
    return figures


def _people(features: NDArray[np.float32], samples: Sequence[Sample]) -> tuple[Labels, Labels]:
    """Return the rows of people, and who they are."""
    if len(features) != len(samples):
        raise ShapeError(f"{len(features)} features of {len(samples)} samples")
    people = np.array([s.person for s in samples], np.int64)
    rows = np.flatnonzero(people >= 0)
    return rows, people[rows]


def _fit_and_answer(
    seen: NDArray[np.float32],
    target: Labels,
    unseen: NDArray[np.float32],
    classes: int,
    ridge: float,
) -> Labels:
    """Fit a classifier and ask it; works in the smaller of samples and features."""
    counts = np.bincount(target, minlength=classes)
    weight = 1 / (np.count_nonzero(counts) * counts[target])  # sums to 1
    x = seen.astype(np.float64)
    centre = weight @ x
    scale = np.sqrt(weight @ np.square(x - centre))
    scale[scale < 1e-12] = 1.0
    x = (x - centre) / scale
    y = np.eye(classes)[target]
    bias = weight @ y
    root = np.sqrt(weight)[:, None]
    a, b = root * x, root * (y - bias)
    if len(a) < a.shape[1]:  # W = A^T (A A^T + ridge I)^-1 B
        solved = a.T @ cho_solve(cho_factor(a @ a.T + ridge * np.eye(len(a))), b)
    else:
        solved = cho_solve(cho_factor(a.T @ a + ridge * np.eye(a.shape[1])), a.T @ b)
    answers = ((unseen - centre) / scale) @ solved + bias
    answers[:, counts == 0] = -np.inf  # never seen: never answered
    return np.asarray(answers.argmax(axis=1), np.int64)
