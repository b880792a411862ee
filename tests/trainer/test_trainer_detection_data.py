"""Pictures with boxes: what is read, what is refused, and what training makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from detection_parts import HEIGHT, WIDTH, write_document, write_set

from crosscam_kernels.errors import InputError
from crosscam_trainer.detection.coco import read_coco, split
from crosscam_trainer.detection.recipe import DetectorAugmentation
from crosscam_trainer.detection.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLAIN = DetectorAugmentation(
    size=(96, 160), stretch=0, mosaic=0, clutter=0, flip=0, blur=0, grey=0, cast=0, gamma=0,
    chroma=0, shrink=0, noise=0, coded=0,
)  # fmt: skip


def test_a_set_is_read_in_the_order_of_its_ids(tmp_path: Path) -> None:
    document = write_set(tmp_path)
    document["images"].reverse()
    document["annotations"][0]["visible"] = 0.2
    document["annotations"][3]["iscrowd"] = 1
    write_document(tmp_path, document)
    pictures = read_coco(tmp_path, least_visible=0.3)
    assert [p.file.name for p in pictures] == [f"{k}.png" for k in range(6)]
    assert pictures[1].boxes.tolist() == [[16, 21, 34, 69], [93, 21, 111, 69]]
    assert [p.ignored.tolist() for p in pictures[:3]] == [[True, False], [False, True], [False] * 2]
    assert pictures[0].read()[30, 14].tolist() == [240, 180, 40]  # RGB


def test_names_of_pictures_may_be_relative_to_their_folder(tmp_path: Path) -> None:
    document = write_set(tmp_path)
    for image in document["images"]:  # as `crosscam simulate people --frames` names them
        image["file_name"] = image["file_name"].removeprefix("frames/")
    write_document(tmp_path, document)
    assert read_coco(tmp_path)[0].read().shape == (HEIGHT, WIDTH, 3)


def test_other_classes_are_left_out(tmp_path: Path) -> None:
    document = write_set(tmp_path)
    document["categories"].append({"id": 2, "name": "dog"})
    document["annotations"][0]["category_id"] = 2
    write_document(tmp_path, document)
    assert [len(p.boxes) for p in read_coco(tmp_path)] == [1, 2, 2, 2, 2, 2]


def change(*path: Any, to: Any) -> Callable[[Any], None]:
    def act(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return act


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (change("images", to=None), "no list 'images'"),
        (change("annotations", 0, to={"id": 1}), r"annotations\[0\] .* lacks image_id"),
        (change("annotations", 0, "image_id", to=99), "of picture 99"),
        (change("annotations", 0, "bbox", to=[1, 2, 3]), r"has bbox \[1, 2, 3\]"),
        (change("annotations", 0, "bbox", to=[1, 2, 0, 3]), r"has bbox \[1, 2, 0, 3\]"),
        (change("annotations", 0, "bbox", to=[90, 20, 108, 68]), "in a picture of 160x96"),
        (change("annotations", to=[]), "nobody to find"),
        (change("categories", 0, "name", to="man"), "no category 'person'"),
        (change("images", 1, "id", to=1), "two pictures .* have one id"),
        (change("images", 1, "width", to=0), "is 0x96 pixels"),
        (change("images", 1, "file_name", to="gone.png"), "1 of 6 pictures .* are missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, act: Callable[[Any], None], said: str) -> None:
    document = write_set(tmp_path)
    act(document)
    write_document(tmp_path, document)
    with pytest.raises(InputError, match=said):
        read_coco(tmp_path)


def test_no_annotations_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no "):
        read_coco(tmp_path)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_coco(tmp_path)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    cv2.imwrite(str(tmp_path / "frames/0.png"), np.zeros((50, 40, 3), np.uint8))
    with pytest.raises(InputError, match="is 40x50 pixels"):
        read_coco(tmp_path)[0].read()


def test_whole_cameras_are_kept_for_judging(tmp_path: Path) -> None:
    write_set(tmp_path)
    learnt, judged = split(read_coco(tmp_path), 0.34)
    assert {p.camera for p in judged} == {"c1", "c2"}
    assert {p.camera for p in learnt} == {"c0"}
    one = [p for p in learnt if p.camera == "c0"]
    assert [len(part) for part in split(one, 0.5)] == [1, 1]


def test_an_input_follows_from_seed_and_number(tmp_path: Path) -> None:
    write_set(tmp_path)
    pictures = read_coco(tmp_path)
    recipe = DetectorAugmentation(size=(64, 96), grey=0.5, blur=0.5)
    one, other = (Samples(pictures, recipe, 3, keep=keep) for keep in (True, False))
    for number in (5, 0, 7):
        first, again = one.draw(number), other.draw(number)
        assert first.image.shape == (64, 96, 3)
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.boxes, again.boxes)
    assert not np.array_equal(one.draw(1).image, one.draw(2).image)
    assert not np.array_equal(one.draw(1).image, Samples(pictures, recipe, 4).draw(1).image)


@pytest.mark.parametrize("scale", [(0.5, 0.6), (1.0, 1.0), (1.7, 2.0)])
@pytest.mark.parametrize(
    "changes", [{}, {"flip": 1.0}, {"mosaic": 1.0}, {"stretch": 0.2}, {"clutter": 1.0}]
)
def test_boxes_go_with_their_pixels(
    tmp_path: Path, scale: tuple[float, float], changes: dict[str, float]
) -> None:
    write_set(tmp_path)
    recipe = PLAIN.model_copy(update={"scale": scale, **changes})
    samples = Samples(read_coco(tmp_path), recipe, 0)
    asked = 0
    for number in range(12):
        image, boxes, ignored = samples.draw(number)
        bright = image[..., 0] > 150
        for (x0, y0, x1, y1), skipped in zip(boxes, ignored, strict=True):
            assert 0 <= x0 < x1 <= WIDTH
            assert 0 <= y0 < y1 <= HEIGHT
            if skipped or (x1 - x0) < 8:
                continue
            asked += 1
            inner = bright[round(y0 + 2) : round(y1 - 2), round(x0 + 2) : round(x1 - 2)]
            assert inner.mean() > 0.97
        outside = bright.copy()
        for x0, y0, x1, y1 in boxes:
            outside[max(int(y0) - 2, 0) : int(y1) + 3, max(int(x0) - 2, 0) : int(x1) + 3] = False
        # Slivers of a pixel, at a tile's edge, have no box.
        assert cv2.erode(outside.astype(np.uint8), np.ones((3, 3))).sum() == 0
    assert asked > 5


def test_clutter_leaves_people_alone_and_changes_what_is_around_them(tmp_path: Path) -> None:
    write_set(tmp_path)
    pictures = read_coco(tmp_path)
    plain = Samples(pictures, PLAIN, 0)
    strewn = Samples(pictures, PLAIN.model_copy(update={"clutter": 1.0}), 0)
    changed = 0
    for number in range(12):
        before, after = plain.draw(number), strewn.draw(number)
        np.testing.assert_array_equal(before.boxes, after.boxes)
        differs = (before.image != after.image).any(-1)
        for x0, y0, x1, y1 in before.boxes.round().astype(int):
            assert not differs[y0:y1, x0:x1].any()
        changed += bool(differs.any())
    assert changed > 3


def test_small_people_are_not_asked_for(tmp_path: Path) -> None:
    write_set(tmp_path)
    recipe = PLAIN.model_copy(update={"scale": (0.5, 0.5)})
    _, boxes, ignored = Samples(read_coco(tmp_path), recipe, 0, least_height=30).draw(0)
    assert len(boxes)
    assert ignored.all()
