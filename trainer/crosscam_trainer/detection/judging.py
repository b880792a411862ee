"""The network on whole pictures, seen as the edge will see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from crosscam_deploy.detection_scores import Found, Scores, judge
from crosscam_deploy.manifest import Decoder, Preprocessing
from crosscam_deploy.preprocess import preprocess
from crosscam_trainer.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from crosscam_trainer.detection.cells import detect
from crosscam_trainer.detection.recipe import STRIDES
from crosscam_trainer.detection.samples import PAD
from crosscam_trainer.loop.extract import evaluating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_trainer.detection.coco import Picture
    from crosscam_trainer.detection.network import PersonDetector
    from crosscam_trainer.detection.recipe import DetectorRecipe

DECODER = Decoder(kind="yolox", num_classes=1, person_class=0, strides=STRIDES, nms_iou=0.6)
"""How the edge reads the network's rows."""


def preparation(size: tuple[int, int]) -> Preprocessing:
    """Return how the network sees pictures in an input of ``(height, width)`` pixels."""
    return Preprocessing(
        height=size[0],
        width=size[1],
        color="rgb",
        scale=1 / 255,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        fit="letterbox_topleft",
        pad_value=PAD,
        filter="bilinear_antialias",
    )


def input_for(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return the input for a picture, both ``(height, width)``: its shape, in whole cells."""
    side = max(size)
    height, width = (-(-length * longest // (side * STRIDES[-1])) * STRIDES[-1] for length in size)
    return height, width


def find(
    network: PersonDetector, image: NDArray[np.uint8], longest: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find people in a picture.

    Args:
        network: In evaluation mode.
        image: `(H, W, 3)` RGB.
        longest: Longest side of the input in pixels.

    Returns:
        Corners `(N, 4)` in pixels of the picture and scores `(N,)`, best first.
    """
    size = input_for(image.shape[:2], longest)
    batch, transforms = preprocess([np.ascontiguousarray(image[..., ::-1])], preparation(size))
    device = next(network.parameters()).device
    raw = network(torch.from_numpy(batch).to(device))
    boxes, scores = detect(raw, size, overlap=DECODER.nms_iou)[0]
    return transforms[0].to_source(boxes.cpu().numpy()), scores.cpu().numpy()


def judge_network(
    network: PersonDetector, pictures: Sequence[Picture], recipe: DetectorRecipe
) -> Scores:
    """Score the network on pictures, evenly spread over all that are given."""
    number = min(recipe.evaluation.pictures, len(pictures))
    chosen = np.linspace(0, len(pictures) - 1, number).round().astype(int)
    found = []
    with evaluating(network):
        for picture in (pictures[k] for k in chosen):
            boxes, scores = find(network, picture.read(), recipe.evaluation.longest)
            scale = recipe.evaluation.longest / max(picture.size)
            small = (picture.boxes[:, 3] - picture.boxes[:, 1]) * scale < recipe.data.least_height
            found.append(Found(boxes, scores, picture.boxes, picture.ignored | small))
    return judge(found)
