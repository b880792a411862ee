"""Full pictures with boxes: against pixels, by number, in files as COCO has them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from people_parts import TINY, needs_anny

from crosscam_trainer.people import frames as module
from crosscam_trainer.people.cameras import draw_station
from crosscam_trainer.people.config import PeopleConfig
from crosscam_trainer.people.frames import render_frame
from crosscam_trainer.people.people import draw_person
from crosscam_trainer.people.run import generate

CONFIG = PeopleConfig(people=40, cameras=3, cameras_per_person=2, frame=192, seed=5, frames=8)


@pytest.mark.parametrize(("frames", "cameras"), [(0, 3), (1, 3), (7, 3), (9, 4)])
def test_every_picture_belongs_to_one_camera(frames, cameras):
    config = PeopleConfig(cameras=cameras, cameras_per_person=1, frames=frames)
    share = [config.frames_of(k) for k in range(1, cameras + 1)]
    assert sum(share) == frames
    assert max(share) - min(share) <= 1


@needs_anny
def test_pictures_hold_nobody_few_and_many_and_are_the_same_again():
    station = draw_station(2, CONFIG.seed, CONFIG.frame)
    view = station.view()
    made = [render_frame(station, view, k, CONFIG) for k in range(24)]
    counts = [len(frame.people) for frame in made]
    assert min(counts) == 0
    pulled = [
        draw_person(one.visit.person, 2, CONFIG.seed).outfits[one.visit.outfit].bag == "suitcase"
        for frame in made
        for one in frame.people
    ]
    assert any(pulled)
    assert max(counts) >= 6
    again = render_frame(station, view, 3, CONFIG)
    np.testing.assert_array_equal(again.image, made[3].image)
    assert again.people == made[3].people
    everybody = [one for frame in made for one in frame.people]
    assert any(one.visible < 0.7 for one in everybody)
    tall = [one.whole[3] - one.whole[1] for one in everybody]
    assert max(tall) > 3 * min(tall)
    height, width = made[0].image.shape[:2]
    for one in everybody:
        x0, y0, x1, y1 = one.whole
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x0 <= one.seen[0] < one.seen[2] <= x1
        assert y0 <= one.seen[1] < one.seen[3] <= y1
        assert 0 < one.visible <= 1


@needs_anny
def test_boxes_frame_the_pixels_that_a_person_changes(monkeypatch):
    """With and without the people: what differs, but for shadows, is in the boxes."""
    station = draw_station(2, CONFIG.seed, CONFIG.frame)
    view = station.view()
    monkeypatch.setattr(module, "degrade", lambda image, *_, **__: image)
    frame = next(
        made
        for made in (render_frame(station, view, k, CONFIG) for k in range(40))
        if len(made.people) == 1 and made.people[0].visible == 1
    )
    empty, *_ = view.render([], np.zeros((0, 1, 12), np.float32), 1)
    differs = np.abs(frame.image.astype(int) - empty).max(2) > 40
    x0, y0, x1, y1 = frame.people[0].whole
    inside = differs[y0:y1, x0:x1]
    assert inside.mean() > 0.25
    assert inside.any(0).mean() > 0.8
    assert inside.any(1).mean() > 0.8
    assert inside.sum() > 0.8 * differs.sum()


def test_the_box_of_who_pulls_a_case_leaves_the_case_out():
    body = np.zeros((60, 80), np.uint8)
    body[10:50, 30:45] = 5
    row = np.array([30, 10, 70, 50, 30, 10, 70, 50, 900, 900, 900], np.int32)
    assert module._boxes(row, body) == ((30, 10, 45, 50), (30, 10, 45, 50))
    hidden = row.copy()
    hidden[3] = 58  # the feet are behind something
    assert module._boxes(hidden, body)[0] == (30, 10, 45, 58)
    assert module._boxes(row, None)[0] == (30, 10, 70, 50)


@needs_anny
def test_files_are_what_coco_asks_for(tmp_path: Path):
    root = tmp_path / "set"
    config = TINY.model_copy(update={"frames": 5, "views": 1, "people": 4})
    generate(config, root, workers=1)
    document = json.loads((root / "annotations.json").read_text())
    images = {image["id"]: image for image in document["images"]}
    assert {image["file_name"] for image in images.values()} == {
        path.name for path in (root / "frames").iterdir()
    }
    for image in images.values():
        shape = cv2.imread(str(root / "frames" / image["file_name"])).shape
        assert shape == (image["height"], image["width"], 3)
    assert [a["id"] for a in document["annotations"]] == list(
        range(1, len(document["annotations"]) + 1)
    )
    for one in document["annotations"]:
        x, y, w, h = one["bbox"]
        assert one["area"] == w * h > 0
        assert x + w <= images[one["image_id"]]["width"]
        assert y + h <= images[one["image_id"]]["height"]
        assert one["category_id"] == document["categories"][0]["id"]
        assert one["person"] <= config.people - config.tested
    plain = tmp_path / "plain"
    generate(config.model_copy(update={"frames": 0}), plain, workers=1)
    assert (plain / "crops.jsonl").read_bytes() == (root / "crops.jsonl").read_bytes()
    for crop in (plain / "crops").rglob("*.jpg"):  # crops do not depend on frames
        assert crop.read_bytes() == (root / crop.relative_to(plain)).read_bytes()
