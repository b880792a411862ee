"""What a model says about pictures: unit vectors of crops, or boxes in frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.decode import decode
from crosscam_deploy.detection_scores import overlaps
from crosscam_deploy.detections import Detections
from crosscam_deploy.embedding import embedder_inputs, embedding_dim, unit_rows, whole_picture
from crosscam_deploy.pictures.files import read_image
from crosscam_deploy.preprocess import LetterboxTransform, preprocess
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

LEAST_SCORE = 0.02
"""Score of the weakest boxes that are kept: average precision asks for them, a run does not."""
RUN_SCORE = 0.3
"""Score from which on a run looks at boxes, where nothing else is configured."""
SAME_ROWS = 0.2
"""Largest distance of two answers of one candidate to one crop, in distances between crops."""
SAME_BOXES = 0.9
"""Least share of boxes that two answers of one candidate to the same frames have in common."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Pictures as a model takes them.

    Attributes:
        batch: `(B, 3, H, W)` float32.
        transforms: Of each frame, back to its pixels; empty for crops.
        sizes: `(B, 2)` width and height of each picture in pixels.
    """

    batch: NDArray[np.float32]
    transforms: tuple[LetterboxTransform, ...]
    sizes: NDArray[np.int64]

    def repeated(self, count: int) -> Inputs:
        """Return `count` pictures: the first ones, and again from the beginning when they end."""
        chosen = np.arange(count) % len(self.batch)
        transforms = tuple(self.transforms[k] for k in chosen) if self.transforms else ()
        return Inputs(np.ascontiguousarray(self.batch[chosen]), transforms, self.sizes[chosen])


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said; one of the two is None.

    Attributes:
        rows: `(N, D)` float32 unit vectors.
        boxes: For each frame.
    """

    rows: NDArray[np.float32] | None = None
    boxes: tuple[Detections, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows) if self.rows is not None else len(self.boxes or ())

    def chosen(self, pictures: NDArray[np.intp]) -> Answers:
        """Return those to some pictures, by number."""
        if self.rows is not None:
            return Answers(rows=self.rows[pictures])
        boxes = self.boxes or ()
        return Answers(boxes=tuple(boxes[k] for k in pictures))

    def save(self, path: Path) -> None:
        """Write an ``.npz``."""
        if self.rows is not None:
            np.savez(path, rows=self.rows)
            return
        boxes = self.boxes or ()
        np.savez(
            path,
            counts=np.array([len(each) for each in boxes], np.int64),
            xyxy=np.concatenate([each.xyxy for each in boxes]),
            confidence=np.concatenate([each.confidence for each in boxes]),
        )

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as content:
            if "rows" in content:
                return cls(rows=content["rows"])
            ends = np.cumsum(content["counts"])[:-1]
            parts = zip(
                np.split(content["xyxy"], ends), np.split(content["confidence"], ends), strict=True
            )
            return cls(
                boxes=tuple(
                    Detections(xyxy, score, np.zeros(len(score), np.int32)) for xyxy, score in parts
                )
            )


def joined(parts: Sequence[Answers]) -> Answers:
    """Return several batches' answers as one."""
    if parts[0].rows is not None:
        return Answers(rows=np.concatenate([part.rows for part in parts if part.rows is not None]))
    return Answers(boxes=tuple(each for part in parts for each in part.boxes or ()))


def inputs_of(bundle: Bundle, files: Sequence[Path], size: tuple[int, int]) -> Inputs:
    """Read pictures and prepare them as the edge does.

    Args:
        bundle: Of the model.
        files: At least one picture: crops of people for an embedder, else frames.
        size: Height and width in pixels of the model's input.

    Raises:
        InputError: A picture cannot be read, or the model does not take whole crops.
    """
    images = [read_image(file) for file in files]
    sizes = np.array([image.shape[1::-1] for image in images], np.int64)
    manifest = bundle.manifest
    prep = manifest.preprocessing.model_copy(update={"height": size[0], "width": size[1]})
    if manifest.task == "embed":
        embedding_dim(manifest)
        crops = [embedder_inputs(image, whole_picture(image), prep, "rgb") for image in images]
        return Inputs(np.concatenate(crops), (), sizes)
    frames = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    batch, transforms = preprocess(frames, prep)
    return Inputs(batch, tuple(transforms), sizes)


def answers_to(bundle: Bundle, inputs: Inputs, outputs: Sequence[NDArray[np.float32]]) -> Answers:
    """Turn a model's outputs into answers.

    Args:
        bundle: Of the model.
        inputs: What it was asked.
        outputs: What it returned, in manifest order.

    Raises:
        RunError: A number is not finite, or a vector has no length.
        ShapeError: The outputs are not those of the manifest's decoder.
    """
    manifest = bundle.manifest
    for name, output in zip(manifest.output_names, outputs, strict=True):
        wrong = int(output.size - np.isfinite(output).sum())
        if wrong:
            raise RunError(
                f"{wrong} of {output.size} numbers of the output {name!r} are not finite",
                expected="finite numbers",
                fix="build it in a higher precision",
            )
    if manifest.task == "embed":
        return Answers(rows=unit_rows(outputs[0].reshape(len(inputs.batch), -1)))
    assert manifest.decoder is not None
    height, width = inputs.batch.shape[2:]
    found = decode(outputs, manifest.decoder, inputs.transforms, (height, width), LEAST_SCORE)
    return Answers(
        boxes=tuple(
            Detections(
                np.clip(each.xyxy, 0, np.tile(size, 2)).astype(np.float32),
                each.confidence,
                each.class_id,
            )
            for each, size in zip(found, inputs.sizes, strict=True)
        )
    )


def in_common(
    some: Sequence[Detections], others: Sequence[Detections], least: float = RUN_SCORE
) -> float:
    """Return the share of boxes of two detectors that have a counterpart, in [0, 1].

    The F1 of pairs: boxes of the same frame with scores from `least` on are paired one to one where
    their IoU is 0.5 or more. Near the least score a box may have its counterpart just below, which
    counts as one. 1 when there are no boxes at all.

    Args:
        some: Of each frame.
        others: Of the same frames.
        least: Score.
    """
    paired, total = 0.0, 0
    for one, two in zip(some, others, strict=True):
        for mine, theirs in ((one, two), (two, one)):
            sure = mine[mine.confidence >= least]
            total += len(sure)
            paired += _pairs(sure, theirs[theirs.confidence >= 0.8 * least])
    return paired / total if total else 1.0


def _pairs(mine: Detections, theirs: Detections) -> int:
    """Count boxes of the first, best first, that find a free box of the second."""
    together = overlaps(mine.xyxy, theirs.xyxy)
    count = 0
    for k in np.argsort(-mine.confidence, kind="stable"):
        best = int(together[k].argmax()) if len(theirs) else -1
        if best >= 0 and together[k, best] >= 0.5:
            together[:, best] = 0.0
            count += 1
    return count


def spread(answers: Answers) -> float:
    """Return the usual distance between the vectors of two pictures; 0 for boxes.

    What counts as a small change of a vector depends on it: some models keep all people close
    together. The median of the distances of the first 64, and 1e-3 at least.
    """
    if answers.rows is None:
        return 0.0
    rows = answers.rows[:64].astype(np.float64)
    apart = np.sqrt(np.clip(2 - 2 * rows @ rows.T, 0, None))
    pairs = apart[np.triu_indices(len(rows), 1)]
    return max(float(np.median(pairs)), 1e-3) if len(pairs) else 1e-3


def difference(one: Answers, two: Answers, usual: float) -> str | None:
    """Say how two answers of one candidate to the same pictures differ; None when they agree.

    Args:
        one: Answers.
        two: Others to the same pictures.
        usual: `spread` of the candidate's answers.
    """
    if one.rows is not None and two.rows is not None:
        moved = float(np.sqrt(np.square(one.rows - two.rows).sum(1)).max()) / usual
        if moved <= SAME_ROWS:
            return None
        return f"a vector moved by {moved:.2g} of the usual distance between two pictures"
    common = in_common(one.boxes or (), two.boxes or ())
    if common >= SAME_BOXES:
        return None
    return f"{common:.0%} of the boxes in common where {SAME_BOXES:.0%} is expected"
