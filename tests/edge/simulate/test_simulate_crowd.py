"""People move like people: apart, outside walls, at walking speed, on planted feet."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_edge.simulate.body import asset, build
from crosscam_edge.simulate.config import SiteConfig
from crosscam_edge.simulate.crowd import walk
from crosscam_edge.simulate.gait import Style, poses, stride_length
from crosscam_edge.simulate.layout import BODY_RADIUS, CELL, plan
from crosscam_edge.simulate.wardrobe import caption, make_outfit, make_person

CONFIG = SiteConfig(people=16, cameras=4, seconds=40, fps=10, seed=2)


@pytest.fixture(scope="module")
def walked():
    layout = plan(CONFIG)
    people = [make_person(k + 1, np.random.default_rng(k)) for k in range(CONFIG.people)]
    return layout, people, walk(layout, people, CONFIG, 0)


def test_nobody_walks_through_walls_or_furniture(walked):
    layout, _, walks = walked
    for k, ground in enumerate(layout.grounds):
        at = walks.position[walks.zone == k]
        clear = np.array([ground.clearance[ground.cell(p)] for p in at])
        assert (clear > BODY_RADIUS - 1.5 * CELL).all()


def test_people_keep_apart(walked):
    _, _, walks = walked
    closest = np.inf
    for f in range(CONFIG.frames):
        for zone in range(4):
            p = walks.position[walks.zone[:, f] == zone, f]
            if len(p) < 2:
                continue
            gap = np.linalg.norm(p[:, None] - p[None], axis=-1)
            closest = min(closest, gap[~np.eye(len(p), dtype=bool)].min())
    assert 0.3 < closest < 2.0


def test_speeds_are_those_of_walkers(walked):
    _, _, walks = walked
    same = (walks.zone[:, 1:] == walks.zone[:, :-1]) & (walks.zone[:, 1:] >= 0)
    speed = np.linalg.norm(np.diff(walks.position, axis=1), axis=-1)[same] * CONFIG.fps
    assert np.percentile(speed, 99) < 2.0
    assert speed.max() < 3.0
    assert 0.3 < np.median(speed) < 1.6


def test_transit_takes_as_long_as_the_way(walked):
    layout, people, walks = walked
    seen = 0
    for k, person in enumerate(people):
        zone = walks.zone[k]
        ends = np.flatnonzero((zone[:-1] >= 0) & (zone[1:] < 0))
        for end in ends:
            later = np.flatnonzero(zone[end + 1 :] >= 0)
            if not len(later):
                continue
            start = end + 1 + later[0]
            ways = [x for x in layout.links if (x.zone, x.to_zone) == (zone[end], zone[start])]
            if not ways:  # through the outside world
                continue
            seconds = (start - end) / CONFIG.fps
            assert seconds >= min(x.metres for x in ways) / person.speed - 0.3
            seen += 1
    assert seen > 3


def test_standing_foot_does_not_slide():
    body = build(make_person(1, np.random.default_rng(0)).shape)
    style, speed, frames = Style(), 1.3, 200
    height = float(np.ptp(body.points[:, 2]))
    s = np.arange(frames) * 0.01 * speed
    phase = s / stride_length(speed, height, style)
    at = np.column_stack([s, np.zeros(frames)])
    bones = poses(body, style, at, np.zeros(frames), phase, np.full(frames, speed))
    index = asset().bones.index("ball_l")
    ball = bones[:, index] @ np.append(body.joints[index], 1.0)
    stance = (np.mod(phase, 1) > 0.12) & (np.mod(phase, 1) < 0.55)
    slip = np.abs(np.diff(ball[:, 0]))[stance[1:] & stance[:-1]]
    assert len(slip) > 30
    assert slip.max() < 0.004  # the body moves 13 mm between frames, the foot does not
    np.testing.assert_allclose(
        bones[:, :, :, :3] @ np.swapaxes(bones[:, :, :, :3], -1, -2),
        np.broadcast_to(np.eye(3), (*bones.shape[:2], 3, 3)),
        atol=1e-9,
    )


def test_height_is_as_asked():
    for k in range(5):
        person = make_person(k, np.random.default_rng(k))
        body = build(person.shape)
        skin = np.unique(asset().triangles["body"])
        assert np.ptp(body.points[skin, 2]) == pytest.approx(person.shape.height, abs=1e-3)


def test_clothes_change_and_captions_follow():
    person = make_person(3, np.random.default_rng(3))
    days = [make_outfit(person, np.random.default_rng([3, d])) for d in range(2)]
    assert days[0] != days[1]
    for outfit in days:
        text = caption(person, outfit)
        assert outfit.top.colour in text
        assert person.noun in text
