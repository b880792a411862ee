"""What is said of people: outfits, captions, surfaces, visits."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from people_parts import needs_anny

from crosscam_edge.simulate.materials import Pattern, linear
from crosscam_edge.simulate.wardrobe import COLOURS
from crosscam_trainer.people.captions import caption
from crosscam_trainer.people.config import PeopleConfig
from crosscam_trainer.people.people import draw_person
from crosscam_trainer.people.schedule import plan, visits_of
from crosscam_trainer.people.wardrobe import BAGS, TOPS

PEOPLE = [draw_person(k, 2, 0) for k in range(1, 300)]


def colours_in(text: str) -> Counter[str]:
    """Names of colours, the longest first: "dark grey" is not grey."""
    names = sorted(COLOURS, key=len, reverse=True)
    return Counter(re.findall(rf"\b(?:{'|'.join(names)})\b", text))


def test_captions_name_all_colours_worn_and_no_others():
    for person in PEOPLE:
        for outfit in person.outfits:
            worn = [outfit.top.colour, outfit.shoes.colour]
            worn += [outfit.top.second] if outfit.top.second else []
            if outfit.bottom.kind != "dress":
                worn += [outfit.bottom.colour]
                worn += [outfit.bottom.second] if outfit.bottom.second else []
            worn += [outfit.scarf] if outfit.scarf else []
            worn += [outfit.bag_colour] if outfit.bag else []
            worn += [outfit.hat_colour] if outfit.hat not in ("", "hood") else []
            text = caption(person, outfit)
            hair = re.compile(
                r"(?:long|short|chin-length|tied-up|curly|a) [a-z ]+ (?:hair|ponytail)"
            )
            assert colours_in(hair.sub("", text)) == Counter(worn), text
            for what in (outfit.top.kind, outfit.bottom.kind, outfit.shoes.kind, outfit.bag):
                assert what in text
            assert ("phone" in text) == outfit.phone


def test_captions_tell_nothing_of_gender_age_or_origin():
    words = re.compile(r"\b(?:man|woman|men|women|boy|girl|male|female|old|young|older|child|"
                       r"african|asian|caucasian|he|she|his|her|skin)\b", re.I)  # fmt: skip
    for person in PEOPLE:
        assert words.search(caption(person, person.outfits[0])) is None


def test_kinds_of_clothes_and_bags_all_occur():
    outfits = [o for p in PEOPLE for o in p.outfits]
    assert {o.top.kind for o in outfits} >= set(TOPS) | {"dress"}
    assert {o.bag for o in outfits} == set(BAGS)
    assert len({o.top.pattern for o in outfits}) >= 10
    plain = sum(o.top.pattern == Pattern.PLAIN for o in outfits) / len(outfits)
    assert 0.25 < plain < 0.7


def test_a_person_is_the_same_whoever_else_is_drawn():
    assert draw_person(17, 2, 0) == PEOPLE[16]
    assert draw_person(17, 3, 0).outfits[:2] == PEOPLE[16].outfits
    assert draw_person(17, 2, 1) != PEOPLE[16]


def test_sober_outfits_are_dark_and_all_else_stays():
    sober = [draw_person(k, 2, 0, 1.0) for k in range(1, 300)]
    assert all(
        replace(a, outfits=()) == replace(b, outfits=()) for a, b in zip(sober, PEOPLE, strict=True)
    )
    dark = {"black", "navy", "dark grey"}
    shares = [
        np.mean([o.top.colour in dark for p in people for o in p.outfits])
        for people in (sober, PEOPLE)
    ]
    assert shares[0] > 0.6
    assert shares[1] < 0.55
    looks = [
        len({(o.top.words(), o.bottom.words()) for p in people for o in p.outfits})
        for people in (sober, PEOPLE)
    ]
    assert looks[0] < 0.8 * looks[1]  # people look alike
    half = [draw_person(k, 2, 0, 0.5) for k in range(1, 300)]
    same = [
        (a == c, b == c)
        for p, q, r in zip(sober, PEOPLE, half, strict=True)
        for a, b, c in zip(p.outfits, q.outfits, r.outfits, strict=True)
    ]
    assert all(any(pair) for pair in same)
    assert 0.4 < np.mean([pair[0] for pair in same]) < 0.6


@needs_anny
def test_cloth_has_the_colour_that_is_named():
    from crosscam_trainer.people.bodies import shapes
    from crosscam_trainer.people.fabrics import fabric

    body = shapes().body(PEOPLE[0].phenotype)
    for person in PEOPLE[:60]:
        top = person.outfits[0].top
        made = fabric(top, body, 5, np.random.default_rng(person.number))
        assert np.allclose(made.c0, linear(COLOURS[top.colour]), rtol=0.25, atol=0.006)
        if top.second:
            assert np.allclose(made.c1, linear(COLOURS[top.second]), rtol=0.25, atol=0.006)


def test_visits_follow_from_the_seed_and_nobody_meets_themself():
    config = PeopleConfig(people=60, cameras=9, cameras_per_person=4, outfits=2, seed=4)
    scenes = plan(config)
    assert plan(config.model_copy()) == scenes
    seen: dict[int, set[int]] = {}
    for camera, groups in scenes.items():
        for group in groups:
            assert 1 <= len(group) <= 4
            assert len({visit.person for visit in group}) == len(group)
            for visit in group:
                seen.setdefault(visit.person, set()).add(camera)
    assert all(len(cameras) == 4 for cameras in seen.values())
    assert len(seen) == 60
    for person in range(1, 61):
        visits = visits_of(person, config)
        for outfit in range(2):
            assert len({camera for camera, v in visits if v.outfit == outfit}) >= 2
        assert len(set(visits)) == len(visits)


@pytest.mark.parametrize(("cameras", "expected"), [(1, 1), (3, 3), (4, 4), (32, 4)])
def test_as_many_cameras_see_a_person_as_there_are(cameras, expected):
    assert PeopleConfig(cameras=cameras).cameras_per_person == expected


def test_more_cameras_per_person_than_cameras_is_refused():
    with pytest.raises(ValueError, match="there are 2 cameras"):
        PeopleConfig(cameras=2, cameras_per_person=3)
