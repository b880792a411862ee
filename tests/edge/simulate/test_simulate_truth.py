"""The truth of a small rendered site is exact: boxes, masks, visibility, homography, ids."""

from __future__ import annotations

import hashlib
import json

import av
import cv2
import numpy as np
import pytest
import yaml

from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_edge.simulate.cameras import make_cameras, make_view
from crosscam_edge.simulate.figure import make_figure
from crosscam_edge.simulate.gait import poses
from crosscam_edge.simulate.layout import plan
from crosscam_edge.simulate.wardrobe import make_outfit, make_person

SMALL = SiteConfig(
    people=6, cameras=2, seconds=3, fps=5, width=320, height=240, seed=7, crops=True, masks=True
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("site") / "out"
    calls = []
    done = simulate(SMALL, root, lambda a, b: calls.append((a, b)))
    assert calls[-1] == (SMALL.frames * 2, SMALL.frames * 2)
    return done


def _mot(site, name, boxes="mot"):
    return np.loadtxt(site.root / "gt" / boxes / f"{name}.txt", delimiter=",", ndmin=2)


def test_writes_what_process_takes(site):
    cameras = yaml.safe_load((site.root / "site.yaml").read_text())["cameras"]
    assert [c["id"] for c in cameras] == site.cameras
    assert all(set(c) == {"id", "video", "start_time"} for c in cameras)
    for camera in cameras:
        with av.open(str(site.root / camera["video"])) as video:
            frames = [f.to_ndarray(format="bgr24") for f in video.decode(video=0)]
        assert len(frames) == SMALL.frames
        assert frames[0].shape == (240, 320, 3)
        assert frames[0].std() > 10  # not a blank picture


def test_masks_agree_with_boxes_and_visibility(site):
    hidden = 0
    for name in site.cameras:
        truth, amodal = _mot(site, name), _mot(site, name, "amodal")
        np.testing.assert_array_equal(truth[:, [0, 1, 6, 7, 8]], amodal[:, [0, 1, 6, 7, 8]])
        np.testing.assert_array_equal(truth[:, 6], truth[:, 8] >= 0.25)
        for frame in np.unique(truth[:, 0]).astype(int):
            mask = cv2.imread(
                str(site.root / "gt" / "masks" / name / f"{frame:06d}.png"), cv2.IMREAD_UNCHANGED
            )
            now = truth[:, 0] == frame
            for row, whole in zip(truth[now], amodal[now], strict=True):
                v, u = np.nonzero(mask == row[1])
                tight = (u.min(), v.min(), u.max() + 1 - u.min(), v.max() + 1 - v.min())
                np.testing.assert_array_equal(row[2:6], tight)
                x, y, w, h = whole[2:6]
                assert x <= u.min()
                assert u.max() < x + w
                assert y <= v.min()
                assert v.max() < y + h
                if row[8] == 1.0:  # nothing hides the person: the mask is the silhouette
                    np.testing.assert_array_equal(row, whole)
                hidden += row[8] < 1.0
            assert set(np.unique(mask)) - {0} >= set(truth[now, 1].astype(int))
    assert hidden > 0


def test_mtmc_file_says_the_same_as_mot_files(site):
    mtmc = np.loadtxt(site.root / "gt" / "mtmc.txt")
    for number, name in enumerate(site.cameras, start=1):
        mot = _mot(site, name)
        mine = mtmc[mtmc[:, 0] == number]
        key = np.lexsort((mot[:, 1], mot[:, 0]))
        np.testing.assert_array_equal(mine[:, 2] + 1, mot[key, 0])
        np.testing.assert_array_equal(mine[:, 1], mot[key, 1])
        np.testing.assert_array_equal(mine[:, 3:7], mot[key, 2:6])


def test_feet_stand_where_the_homography_says(site):
    calibration = json.loads((site.root / "calibration.json").read_text())["cameras"]
    mtmc = np.loadtxt(site.root / "gt" / "mtmc.txt")
    boxes = [
        {(int(r[0]) - 1, int(r[1])): r[2:6] for r in _mot(site, name, "amodal")}
        for name in site.cameras
    ]
    errors = []
    for row in mtmc:
        camera = calibration[int(row[0]) - 1]
        left, top, width, height = boxes[int(row[0]) - 1][int(row[2]), int(row[1])]
        if top + height >= camera["size"][1] - 1 or left <= 0 or left + width >= camera["size"][0]:
            continue
        ground = np.array(camera["homography_image_to_ground"]) @ [
            left + width / 2, top + height, 1.0
        ]  # fmt: skip
        errors.append(np.hypot(*(ground[:2] / ground[2] - row[7:9])))
    assert len(errors) > 20
    # A foot is up to 0.4 m from the body's centre, and the bottom of the box is a toe.
    assert np.median(errors) < 0.35
    assert np.percentile(errors, 90) < 0.8


def test_overlapping_views_show_the_same_people_at_the_same_places(tmp_path):
    config = SMALL.model_copy(
        update={"people": 3, "cameras": 3, "overlap": True, "crops": False, "masks": False}
    )
    site = simulate(config, tmp_path / "s")
    assert [name.split("-")[1] for name in site.cameras] == ["lobby", "shop", "lobby"]
    rows = np.loadtxt(site.root / "gt" / "mtmc.txt")
    first, last = ({(r[1], r[2]): r for r in rows[rows[:, 0] == n]} for n in (1, 3))
    both = first.keys() & last.keys()
    assert len(both) > 5
    calibration = json.loads((site.root / "calibration.json").read_text())["cameras"]
    for key in both:
        np.testing.assert_array_equal(first[key][7:9], last[key][7:9])
        for row, camera in ((first[key], calibration[0]), (last[key], calibration[2])):
            left, top, width, height = row[3:7]
            x, y, w = np.linalg.inv(camera["homography_image_to_ground"]) @ [*row[7:9], 1.0]
            if left > 0 and left + width < 320 and top + height < 239:
                assert left - 4 <= x / w <= left + width + 4
                assert y / w <= top + height + 8


def test_calibration_projects_and_inverts():
    camera = make_cameras(plan(SMALL), SMALL)[0]
    points = np.array([[4.0, 5.0, 0.0], [6.0, 7.0, 0.0], [5.0, 4.0, 0.0]])
    pixels = camera.project(points)
    back = np.column_stack([pixels, np.ones(3)]) @ camera.homography().T
    np.testing.assert_allclose(back[:, :2] / back[:, 2:], points[:, :2], atol=1e-9)


def test_same_seed_same_bytes_other_seed_other_people(tmp_path):
    config = SMALL.model_copy(update={"seconds": 0.6, "cameras": 1, "crops": False})
    digests = []
    for k, seed in enumerate((3, 3, 4)):
        root = tmp_path / str(k)
        simulate(config.model_copy(update={"seed": seed}), root)
        files = sorted(p for p in root.rglob("*") if p.is_file())
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in files])
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def _one_person(cameras, view, at, people=1):
    rng = np.random.default_rng(5)
    person = make_person(1, rng)
    body, mesh = make_figure(person, make_outfit(person, rng))
    bones = [
        poses(body, person.style, np.array([p]), np.zeros(1), np.zeros(1), np.ones(1)).reshape(
            -1, 12
        )
        for p in at
    ]
    return view.render([mesh] * len(at), np.stack(bones).astype(np.float32), 1, True), body


def test_occluded_share_is_the_ratio_of_masks_and_the_near_one_wins():
    layout = plan(SMALL)
    camera = make_cameras(layout, SMALL)[0]
    view = make_view(camera, layout, 1)
    ox = layout.zones[0].offset[0]
    far, near = np.array([ox + 4.4, 6.0]), np.array([ox + 4.5, 5.2])
    (_, alone, ids), _ = _one_person(camera, view, [far])
    (_, both, ids2), _ = _one_person(camera, view, [far, near])
    assert alone[0, 10] == (ids == 1).sum() == alone[0, 8]
    assert both[0, 8] == alone[0, 8]  # the silhouette does not depend on others
    assert both[0, 10] == (ids2 == 1).sum()
    assert both[0, 10] < both[0, 8]
    assert both[1, 10] == both[1, 8]
    assert tuple(both[0, :4]) == tuple(alone[0, :4])


def test_box_is_the_projected_body():
    layout = plan(SMALL)
    camera = make_cameras(layout, SMALL)[0]
    view = make_view(camera, layout, 1)
    at = np.array([layout.zones[0].offset[0] + 4.4, 5.5])
    (_, rows, _), body = _one_person(camera, view, [at])
    x0, y0, x1, y1 = rows[0, :4]
    head = np.array([[*at, np.ptp(body.points[:, 2])]])
    foot = np.array([[*at, 0.0]])
    assert abs(camera.project(head)[0, 1] - y0) < 6
    assert abs(camera.project(foot)[0, 1] - y1) < 8
    assert x0 - 1 <= camera.project(foot)[0, 0] <= x1 + 1


def test_crops_are_named_like_market(site):
    files = list((site.root / "crops").rglob("*.jpg"))
    assert files
    for file in files:
        who, rest = file.stem.split("_", 1)
        assert 1 <= int(who) <= SMALL.people
        assert rest[0] == "c"
        assert (int(who) % 2 == 1) == (file.parent.name == "bounding_box_train")
