"""The files of a set: pictures, masks, the table, and what the `simulated` reader asks for.

Names are those of Market-1501 with the outfit in the place of the sequence:
``00012_c3s1_000451_00.jpg`` is person 12 in outfit 1 in camera 3.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import cv2
import yaml

from crosscam_trainer.people.captions import caption
from crosscam_trainer.people.people import draw_person

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_trainer.people.config import PeopleConfig
    from crosscam_trainer.people.frames import Frame
    from crosscam_trainer.people.rendering import Seen

TABLE, PEOPLE, SITE = "crops.jsonl", "people.json", "site.yaml"
CROPS, MASKS = "crops", "masks"
FRAMES, BOXES = "frames", "annotations.json"
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
_QUALITY = 95  # the camera's own coder comes before
_FRAME_QUALITY = 90


def folders(root: Path, *, frames: bool = False) -> None:
    """Make the folders of pictures and masks, and of full pictures where there are to be some."""
    if frames:
        (root / FRAMES).mkdir(parents=True, exist_ok=True)
    for split in (TRAIN, QUERY, GALLERY):
        (root / CROPS / split).mkdir(parents=True, exist_ok=True)
        (root / MASKS / CROPS / split).mkdir(parents=True, exist_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _encoded(suffix: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return bytes(data.tobytes())


def write_crops(
    root: Path, camera: int, scene: int, seen: Iterable[Seen], config: PeopleConfig
) -> list[dict[str, Any]]:
    """Write the crops of a scene; returns their lines of the table."""
    lines = []
    met: set[int] = set()
    for one in seen:
        person, outfit = one.visit.person, one.visit.outfit
        if person <= config.people - config.tested:
            split = TRAIN
        else:  # the first picture of a visit is a query
            split = GALLERY if person in met else QUERY
            met.add(person)
        frame = scene * config.views + one.view + 1
        stem = f"{person:05d}_c{camera}s{outfit + 1}_{frame:06d}_00"
        picture, mask = f"{CROPS}/{split}/{stem}.jpg", f"{MASKS}/{CROPS}/{split}/{stem}.png"
        crop = one.crop
        (root / picture).write_bytes(
            _encoded(".jpg", crop.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        )
        (root / mask).write_bytes(_encoded(".png", crop.mask, [cv2.IMWRITE_PNG_COMPRESSION, 6]))
        who = draw_person(person, config.outfits, config.seed, config.sober)
        lines.append(
            {
                "file": picture,
                "mask": mask,
                "person": person,
                "camera": f"c{camera}",
                "outfit": outfit + 1,
                "caption": caption(who, who.outfits[outfit]),
                "visible": round(crop.visible, 4),
                "box": list(crop.box),
                "size": [crop.image.shape[1], crop.image.shape[0]],
            }
        )
    return lines


def write_frame(root: Path, camera: int, number: int, frame: Frame) -> dict[str, Any]:
    """Write a full picture; returns its line of the table."""
    name = f"c{camera}_{number + 1:06d}.jpg"
    data = _encoded(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, _FRAME_QUALITY])
    (root / FRAMES / name).write_bytes(data)
    people = [
        {
            "person": one.visit.person,
            "outfit": one.visit.outfit + 1,
            "whole": one.whole,
            "seen": one.seen,
            "visible": round(one.visible, 4),
            "ignore": one.ignore,
        }
        for one in frame.people
    ]
    height, width = frame.image.shape[:2]
    return {"file": name, "camera": f"c{camera}", "size": [width, height], "people": people}


def write_boxes(root: Path, tables: Iterable[Path]) -> None:
    """Join the tables of full pictures to `annotations.json`, as COCO has it.

    `bbox` is the whole body cut at the edge of the picture, `seen` what shows of it, both x, y,
    width, height. `ignore` is 1 for those whom nobody could ask a detector for.
    """

    def sized(box: list[int]) -> list[int]:
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for line in b"".join(table.read_bytes() for table in tables).splitlines():
        row = json.loads(line)
        width, height = row["size"]
        image = {"id": len(images) + 1, "file_name": row["file"], "width": width, "height": height}
        images.append({**image, "camera": row["camera"]})
        for one in row["people"]:
            box = sized(one["whole"])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "ignore": int(one["ignore"]),
                    "seen": sized(one["seen"]),
                    "visible": one["visible"],
                    "person": one["person"],
                    "outfit": one["outfit"],
                }
            )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    replace_file(root / BOXES, json.dumps(document).encode())


def as_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """JSON, one row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_labels(root: Path, config: PeopleConfig) -> None:
    """Write `people.json` and `site.yaml`; a day of the reader is an outfit here."""
    entries = []
    for number in range(1, config.people + 1):
        person = draw_person(number, config.outfits, config.seed, config.sober)
        days = [
            {"day": k + 1, "caption": caption(person, outfit), "clothes": outfit.record()}
            for k, outfit in enumerate(person.outfits)
        ]
        hair = {"hair": person.hair, "hair_colour": person.hair_colour}
        entries.append({"id": number, **hair, "days": days})
    replace_file(root / PEOPLE, json.dumps({"people": entries}, indent=1).encode())
    cameras = [{"id": f"c{k}"} for k in range(1, config.cameras + 1)]
    replace_file(root / SITE, yaml.safe_dump({"cameras": cameras}).encode())
