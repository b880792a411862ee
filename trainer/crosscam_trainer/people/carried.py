"""Bags, suitcases and phones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate import wardrobe as simple
from crosscam_edge.simulate.accessories import add_bag
from crosscam_edge.simulate.materials import Material
from crosscam_edge.simulate.tailor import Tailor, rounded_box
from crosscam_trainer.people.wardrobe import LONG_TOPS, Outfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_HANDLE = (0.03, 0.03, 0.035)


def plain_outfit(outfit: Outfit) -> simple.Outfit:
    """What the simulator's makers of shoes, hair and bags need to know of an outfit."""
    thick = outfit.top.kind in LONG_TOPS or outfit.top.kind.endswith("jacket")
    return simple.Outfit(
        top=simple.Garment("coat" if thick else "t-shirt", outfit.top.colour),
        bottom=simple.Garment("trousers", outfit.bottom.colour),
        shoes=simple.Garment("shoes", outfit.shoes.colour),
        bag="handbag" if outfit.bag == "shopping bag" else outfit.bag,
        bag_colour=outfit.bag_colour,
        hat="" if outfit.hat == "hood" else outfit.hat,
        hat_colour=outfit.hat_colour,
        seed=outfit.seed,
    )


def add_carried(
    tailor: Tailor, outfit: Outfit, plain: simple.Outfit, rng: np.random.Generator
) -> None:
    """Add what the outfit says is carried."""
    if outfit.bag == "suitcase":
        _suitcase(tailor, outfit, rng)
    elif outfit.bag:
        add_bag(tailor, plain, rng)
    if outfit.phone:
        _phone(tailor)


def _suitcase(tailor: Tailor, outfit: Outfit, rng: np.random.Generator) -> None:
    """A case on wheels, pulled behind with the right hand."""
    shell = tailor.material(
        Material(simple.colour(outfit.bag_colour, rng), specular=0.2, bump=0.15, fold=0.04)
    )
    metal = tailor.material(Material(_HANDLE, specular=0.3))
    size = np.array([rng.uniform(0.22, 0.3), rng.uniform(0.36, 0.46), rng.uniform(0.5, 0.68)])
    side = -abs(tailor.body.joint("upperarm_r")[1]) - 0.1
    at = np.array([-0.45, side, size[2] / 2 + 0.04])
    points, faces = rounded_box(at, size, 0.25)
    tailor.solid(points, faces, {"pelvis": 1.0}, shell)
    grip = np.array([-0.12, side, float(tailor.body.joint("thigh_r")[2]) * 0.9])
    foot = at + np.array([0.0, 0.0, size[2] / 2])
    for shift in (-0.07, 0.07):
        bar, faces = rounded_box(np.zeros(3), np.array([0.015, 0.015, 1.0]), 0.5)
        # A bar along z, laid from the case to the hand.
        t = bar[:, 2:] + 0.5
        line = foot + t * (grip - foot) + bar[:, :2] @ np.array([[1.0, 0, 0], [0, 1.0, 0]])
        tailor.solid(line + np.array([0.0, shift, 0.0]), faces, {"pelvis": 1.0}, metal)


def _phone(tailor: Tailor) -> None:
    """A phone in the right hand, along the forearm."""
    body = tailor.body
    hand = body.joint("hand_r")
    along = hand - body.joint("lowerarm_r")
    along /= np.linalg.norm(along)
    side = np.cross(along, [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([along, np.cross(side, along), side], axis=1)
    box, faces = rounded_box(np.zeros(3), np.array([0.15, 0.075, 0.014]), 0.2)
    glass = tailor.material(Material((0.012, 0.012, 0.014), specular=0.5))
    tailor.solid(box @ frame.T + hand + 0.12 * along, faces, {"hand_r": 1.0}, glass)
