"""Looks at pictures and words that clients send, with networks of its own: video waits for none.

They are copies of the run's, on the processor, with one thread each: whoever searches takes one
core for as long as it takes, and no lock that the cameras need. They are opened when somebody
searches for the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_deploy.runtime.open import available_runtimes, open_runtime
from crosscam_deploy.text_tower import TextTower, has_text
from crosscam_edge.boxes import area
from crosscam_edge.detect.model import ModelDetector
from crosscam_edge.embed.model import ModelEmbedder
from crosscam_edge.server.errors import RefusedError
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime import Precision, Runtime
    from crosscam_edge.detect import Detector
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.live.run import LiveRun

_UPRIGHT = 1.2  # height / width from which a picture may be of one person from edge to edge
_MARGIN = 0.5  # of the height, put around such a picture: detectors expect people to be in scenes
_FILLS = 0.5  # share of the picture from which somebody is all that it shows
_SURE = 0.3  # least confidence of somebody, as for crops of cameras
_GREY = (114, 114, 114)


@dataclass(frozen=True, slots=True)
class Seen:
    """A person in a picture.

    Attributes:
        box: `x1, y1, x2, y2` in its pixels.
        confidence: Of the detector; None where nobody was looked for.
        people: Found in the picture.
        looks: `(D,)` float32, length 1.
        model_id: What made them.
    """

    box: tuple[float, float, float, float]
    confidence: float | None
    people: int
    looks: NDArray[np.float32]
    model_id: str


class Eyes:
    """Finds a person in a picture, and tells what they look like; one thread at a time.

    Args:
        run: Whose models are copied.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._detector: Detector | None = None
        self._embedder: Embedder | None = None
        self._tower: tuple[str, TextTower] | None = None

    def look(self, image: NDArray[np.uint8], crop: bool | None) -> Seen:
        """Return the largest person in a picture, or the one that fills it.

        Args:
            image: `(H, W, 3)` uint8, BGR.
            crop: Whether it is one person from edge to edge; None to find out.

        Raises:
            RefusedError: There is nobody in it, or it cannot be embedded.
        """
        height, width = image.shape[:2]
        upright = height >= _UPRIGHT * width
        if crop is None and upright and self._run.detector.sequential:
            crop = True  # nobody can look for people in it
        box: tuple[float, float, float, float] = (0.0, 0.0, float(width), float(height))
        confidence, people = None, 1
        if not crop:
            found = self._found(image, maybe_crop=crop is None and upright)
            if found is None:
                raise RefusedError(
                    422,
                    "nobody",
                    "nobody was found in the picture",
                    expected="a person, from head to foot if possible",
                    fix="cut out the person, and say that it is a crop: ?crop=true",
                )
            box, confidence, people = found
        embedder = self._embedding()
        (looks,) = embedder.embed(image, np.array([box], np.float32))
        if not looks.any():
            raise RefusedError(
                422,
                "nobody",
                "the person is too small to look like anybody",
                fix="send another one",
            )
        return Seen(box, confidence, people, looks, embedder.model_id)

    def read(self, text: str) -> tuple[NDArray[np.float32], str]:
        """Return what somebody looks like whom words describe: `(D,)`, length 1, and the model.

        Raises:
            RefusedError: The run's model has no text tower, or the text is too long for it.
        """
        embedder = self._run.embedder
        bundle = bundle_of_words(embedder)
        if bundle is None:
            raise RefusedError(
                409,
                "no_text_tower",
                f"the run's model, {embedder.name}, knows no words",
                expected="a bundle of a CLIP model",
                fix="crosscam models pull clip:ARCHITECTURE/WEIGHTS, and crosscam swap",
            )
        if self._tower is None or self._tower[0] != bundle.model_id:
            self._tower = bundle.model_id, TextTower(bundle)
        try:
            return self._tower[1].embed(text), bundle.model_id
        except InputError as error:
            raise RefusedError(
                422, "invalid", error.found, expected=error.expected, fix=error.fix
            ) from error

    def close(self) -> None:
        """Free the networks."""
        if isinstance(self._detector, ModelDetector):
            self._detector.close()
        if isinstance(self._embedder, ModelEmbedder):
            self._embedder.close()
        self._detector = self._embedder = self._tower = None

    def _found(
        self, image: NDArray[np.uint8], *, maybe_crop: bool
    ) -> tuple[tuple[float, float, float, float], float | None, int] | None:
        """Return box and confidence of whom to look for, and how many there are."""
        height, width = image.shape[:2]
        if maybe_crop:
            margin = round(_MARGIN * height)
            wider = cv2.copyMakeBorder(
                image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=_GREY
            )
            boxes, confidences = self._people(np.asarray(wider, np.uint8), margin, image.shape)
            fills = area(boxes) >= _FILLS * width * height
            if fills.any():
                best = int(np.flatnonzero(fills)[np.argmax(confidences[fills])])
                return (
                    (0.0, 0.0, float(width), float(height)),
                    round(float(confidences[best]), 3),
                    1,
                )
        boxes, confidences = self._people(image, 0, image.shape)
        if not len(boxes):
            return None
        largest = int(np.argmax(area(boxes)))
        x1, y1, x2, y2 = (round(float(each), 1) for each in boxes[largest])
        return (x1, y1, x2, y2), round(float(confidences[largest]), 3), len(boxes)

    def _people(
        self, image: NDArray[np.uint8], margin: int, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes `(N, 4)`, less a margin and cut to `shape`, and confidences `(N,)`."""
        found = self._detecting().detect([image])[0]
        sure = found.confidence >= _SURE
        limit = np.array([shape[1], shape[0], shape[1], shape[0]], np.float32)
        boxes = np.clip(found.xyxy[sure] - margin, 0, limit).astype(np.float32)
        kept = area(boxes) > 0
        return boxes[kept], found.confidence[sure][kept]

    def _detecting(self) -> Detector:
        if self._detector is None:
            detector = self._run.detector
            if detector.sequential:
                raise RefusedError(
                    409,
                    "no_detector",
                    f"the run's detector, {detector.name}, finds nobody in a single picture",
                    expected="one person from edge to edge",
                    fix="cut out the person, or say that it is a crop: ?crop=true",
                )
            if isinstance(detector, ModelDetector):
                # Of one input size: pictures of clients come in all shapes.
                least = self._run.settings.min_confidence
                detector = ModelDetector(_own(detector.runtime), min(least, _SURE))
            self._detector = detector
        return self._detector

    def _embedding(self) -> Embedder:
        embedder = self._run.embedder
        if self._embedder is None or self._embedder.model_id != embedder.model_id:
            if isinstance(self._embedder, ModelEmbedder):
                self._embedder.close()
                self._embedder = None
            if isinstance(embedder, ModelEmbedder):
                embedder = ModelEmbedder(_own(embedder.runtime))
            self._embedder = embedder
        return self._embedder


def bundle_of_words(embedder: Embedder) -> Bundle | None:
    """Return the bundle of an embedder if it has a text tower, else None."""
    bundle = embedder.runtime.bundle if isinstance(embedder, ModelEmbedder) else None
    return bundle if bundle is not None and has_text(bundle) else None


def _own(runtime: Runtime) -> Runtime:
    """Return another runtime of the same bundle: on the processor, with one thread."""
    bundle, installed = runtime.bundle, available_runtimes()
    wanted = "openvino" if bundle.manifest.format == "openvino" else runtime.name
    if wanted not in installed:
        wanted = "onnxruntime"
    precision: Precision = "f32" if runtime.precision == "f32" else "auto"
    if wanted == "openvino":
        return open_runtime(bundle, runtime="openvino", precision=precision, threads=1)
    return open_runtime(bundle, runtime="onnxruntime", precision=precision, threads=1)
