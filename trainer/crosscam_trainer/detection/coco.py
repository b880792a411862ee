"""Pictures with boxes of people, from `annotations.json` as COCO has it; checked as it is read."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANNOTATIONS = "annotations.json"
PERSON = "person"
_FOLDERS = ("frames", "images")  # where pictures are that are not beside their annotations
_SLACK = 2.0  # pixels by which boxes may stick out of the picture: annotators round


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and who is in it.

    Attributes:
        file: Where it is.
        size: ``(height, width)`` in pixels.
        camera: Its name; empty where the set does not tell cameras apart.
        boxes: `(N, 4)` float32 corners in pixels, of whole bodies.
        visible: `(N,)` float32, share of each that shows; 1 where the set does not say.
        ignored: `(N,)` bool, people who are not to be asked for: crowds, too small or hidden ones.
    """

    file: Path
    size: tuple[int, int]
    camera: str
    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    ignored: NDArray[np.bool_]

    def read(self) -> NDArray[np.uint8]:
        """Return the pixels, `(H, W, 3)` RGB.

        Raises:
            InputError: Not a picture, or of another size than the annotations say.
        """
        image = cv2.imread(str(self.file), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{self.file} cannot be read", expected="a JPEG or PNG picture")
        if image.shape[:2] != self.size:
            raise InputError(
                f"{self.file} is {image.shape[1]}x{image.shape[0]} pixels",
                expected=f"{self.size[1]}x{self.size[0]}, as {ANNOTATIONS} says",
                fix="annotations and pictures must be of one set",
            )
        return np.asarray(image[..., ::-1], np.uint8)


def read_coco(folder: Path, least_visible: float = 0.0) -> list[Picture]:
    """Read the pictures of a set, in the order of their ids.

    Boxes of other classes than `person` are left out. Besides COCO's own keys those of
    `crosscam simulate people` are read: `camera` of a picture, `visible` and `ignore` of a person.

    Args:
        folder: Holds `annotations.json`, whose `file_name` are relative to it, or to `frames` or
            `images` in it.
        least_visible: People of whom less shows are ignored.

    Raises:
        InputError: It cannot be read, a picture is missing, or a box cannot be one.
    """
    file = Path(folder) / ANNOTATIONS
    document = _document(file)
    people = [c["id"] for c in document["categories"] if c.get("name") == PERSON]
    if not people:
        raise InputError(
            f"{file} has no category '{PERSON}'", expected="an entry of `categories` of that name"
        )
    known = {image["id"]: image for image in document["images"]}
    if len(known) != len(document["images"]):
        raise InputError(f"two pictures of {file} have one id", expected="an id for each")
    rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in document["annotations"]:
        if row["image_id"] not in known:
            raise InputError(
                f"annotation {row.get('id')} of {file} is of picture {row['image_id']!r}",
                expected="the id of an entry of `images`",
            )
        if row["category_id"] in people:
            rows[row["image_id"]].append(row)
    pictures = [
        _picture(file, known[number], rows[number], least_visible) for number in sorted(known)
    ]
    missing = [picture.file for picture in pictures if not picture.file.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(pictures)} pictures of {file} are missing: {missing[0]}",
            expected="`file_name` relative to the folder of the annotations, or to frames/ or "
            "images/ in it",
        )
    if not any((~picture.ignored).any() for picture in pictures):
        raise InputError(f"{file} has nobody to find", expected="at least one box of a person")
    return pictures


def split(pictures: list[Picture], test_share: float) -> tuple[list[Picture], list[Picture]]:
    """Split into pictures to train on and to judge by; whole cameras where there are several.

    Args:
        pictures: Of a set.
        test_share: Of the cameras, the last ones in order of appearance, or else of the pictures.
    """
    cameras = list(dict.fromkeys(picture.camera for picture in pictures))
    if len(cameras) > 1:
        tested = set(cameras[len(cameras) - math.ceil(len(cameras) * test_share) :])
        return (
            [p for p in pictures if p.camera not in tested],
            [p for p in pictures if p.camera in tested],
        )
    first = len(pictures) - math.ceil(len(pictures) * test_share)
    return pictures[:first], pictures[first:]


def _document(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no {file}",
            expected="a folder that `crosscam simulate people --frames` wrote, or another with "
            "annotations as COCO has them",
            fix="make one: crosscam simulate people -o people --frames 1800",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error})", expected="JSON") from error
    wanted = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id",),
    }
    for part, keys in wanted.items():
        entries = document.get(part) if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"{file} has no list '{part}'", expected="the layout of COCO")
        for number, entry in enumerate(entries):
            lacking = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if lacking:
                raise InputError(
                    f"{part}[{number}] of {file} lacks {lacking[0]}", expected="the layout of COCO"
                )
    return document  # type: ignore[no-any-return]


def _picture(
    file: Path, image: dict[str, Any], rows: list[dict[str, Any]], least_visible: float
) -> Picture:
    width, height = image["width"], image["height"]
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise InputError(
            f"picture {image['file_name']} of {file} is {width!r}x{height!r} pixels",
            expected="two whole numbers above 0",
        )
    boxes = np.zeros((len(rows), 4), np.float32)
    for k, row in enumerate(rows):
        boxes[k] = _corners(row, width, height, file)
    visible = np.array([row.get("visible", 1.0) for row in rows], np.float32)
    flagged = [bool(row.get("iscrowd")) or bool(row.get("ignore")) for row in rows]
    ignored = np.array(flagged, bool) | (visible < least_visible)
    places = (file.parent, *(file.parent / folder for folder in _FOLDERS))
    files = [place / image["file_name"] for place in places]
    name = next((place for place in files if place.is_file()), files[0])
    return Picture(name, (height, width), str(image.get("camera", "")), boxes, visible, ignored)


def _corners(row: dict[str, Any], width: int, height: int, file: Path) -> list[float]:
    """Return x0, y0, x1, y1, cut at the edge of the picture."""
    where = f"annotation {row.get('id')} of {file}"
    try:
        x, y, w, h = (float(value) for value in row["bbox"])
    except (TypeError, ValueError):
        raise InputError(
            f"{where} has bbox {row['bbox']!r}", expected="x, y, width, height"
        ) from None
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise InputError(f"{where} has bbox {row['bbox']}", expected="width and height above 0")
    outside = min(x, y, width - x - w, height - y - h)
    if outside < -_SLACK:
        raise InputError(
            f"{where} has bbox {row['bbox']} in a picture of {width}x{height} pixels",
            expected="x, y, width, height inside of the picture",
            fix="corners instead of sizes are a usual mistake",
        )
    return [max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))]
