"""What a figure wears besides clothes: shoes and bags."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull

from crosscam_edge.simulate.body import asset, triangles, vertex_normals
from crosscam_edge.simulate.materials import Material, Pattern
from crosscam_edge.simulate.tailor import BONES, KEEP, Piece, Tailor, rounded_box
from crosscam_edge.simulate.wardrobe import Outfit, colour


def add_shoes(tailor: Tailor, outfit: Outfit, rng: np.random.Generator) -> None:
    """Add shoes: the hull of each foot, a little larger."""
    body = tailor.body
    tone = colour(outfit.shoes.colour, rng)
    sole = colour("white", rng) if rng.random() < 0.4 else (0.02, 0.02, 0.02)
    leather = tailor.material(
        Material(tone, sole, tone, Pattern.BLOCK, specular=0.15, offset=(0, 0, 0.022))
    )
    skin = np.unique(triangles("body"))
    for side in ("_l", "_r"):
        mine = skin[np.isin(body.main_bone[skin], [BONES["foot" + side], BONES["ball" + side]])]
        mine = mine[body.points[mine, 2] < body.joint("foot" + side)[2] + 0.015]
        hull = ConvexHull(body.points[mine])
        corners = mine[hull.vertices]
        where = np.full(len(body.points), -1)
        where[corners] = np.arange(len(corners))
        faces = where[mine[hull.simplices]]
        points = body.points[corners].copy()
        centre = points.mean(0)
        # SciPy leaves the winding open: turn every face outwards.
        a, b, c = (points[faces[:, k]] for k in range(3))
        inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - centre) < 0
        faces[inward] = faces[inward][:, ::-1]
        points += 0.007 * vertex_normals(points, faces)
        points[:, 2] = np.maximum(points[:, 2], 0.0)
        cut = np.full(len(points), KEEP)
        tailor.pieces.append(
            Piece(
                points, points, cut, asset().bone[corners], asset().weight[corners], faces, leather
            )
        )


def add_bag(tailor: Tailor, outfit: Outfit, rng: np.random.Generator) -> None:
    """Add a backpack, a shoulder bag or a handbag; the first two with straps over the clothes."""
    body = tailor.body
    tone = colour(outfit.bag_colour, rng)
    dark = (tone[0] * 0.4, tone[1] * 0.4, tone[2] * 0.4)
    chest = body.joint("spine_03")
    shoulder = body.joint("upperarm_l")
    material = Material(
        tone,
        dark,
        dark,
        Pattern.BLOCK,
        specular=0.08,
        bump=0.25,
        offset=(0, 0, float(chest[2] + 0.02)),
        fold=0.06,
    )
    leather = tailor.material(material)
    tights = np.unique(triangles("tights"))
    strap = np.full(len(body.points), 1.0)
    torso = np.isin(
        body.main_bone,
        [
            BONES[b]
            for b in (
                "spine_01",
                "spine_02",
                "spine_03",
                "clavicle_l",
                "clavicle_r",
                "neck_01",
                "pelvis",
            )
        ],
    )
    p = body.points
    if outfit.bag == "backpack":
        back = p[tights[torso[tights] & (np.abs(p[tights, 2] - chest[2] - 0.1) < 0.1)]][:, 0].min()
        size = np.array([rng.uniform(0.14, 0.22), rng.uniform(0.27, 0.34), rng.uniform(0.4, 0.5)])
        box, faces = rounded_box(np.array([back - size[0] / 2 - 0.005, 0, chest[2] + 0.03]), size)
        tailor.solid(box, faces, {"spine_03": 0.7, "spine_02": 0.3}, leather)
        centre = 0.62 * abs(shoulder[1])
        strap[tights] = np.where(
            torso[tights] & (p[tights, 2] > chest[2] - 0.12),
            np.abs(np.abs(p[tights, 1]) - centre) - 0.022,
            1.0,
        )
    elif outfit.bag == "shoulder bag":
        hip = body.joint("thigh_r")
        size = np.array([0.28, 0.1, 0.24])
        side = np.abs(p[tights[torso[tights]]][:, 1]).max()
        box, faces = rounded_box(np.array([0.0, -max(side, 0.17) - 0.06, hip[2] + 0.02]), size)
        tailor.solid(box, faces, {"pelvis": 1.0}, leather)
        # A strap across the chest: from the left shoulder to the right hip.
        low, high = hip[2] + 0.08, shoulder[2] + 0.06
        line = -0.17 + (p[tights, 2] - low) / (high - low) * (0.1 + 0.17)
        strap[tights] = np.where(
            torso[tights] & (p[tights, 2] > low), np.abs(p[tights, 1] - line) - 0.02, 1.0
        )
    else:
        hand = body.joint("hand_l")
        forearm = hand - body.joint("lowerarm_l")
        at = hand + 0.12 * forearm / np.linalg.norm(forearm)
        down = forearm / np.linalg.norm(forearm)
        box, faces = rounded_box(np.zeros(3), np.array([0.3, 0.12, 0.26]))
        # At rest the arm points sideways: lay the bag along it, so that it hangs when the arm does.
        side = np.cross(down, [1.0, 0, 0])
        side /= np.linalg.norm(side)
        frame = np.stack([np.cross(side, down), side, -down], axis=1)
        tailor.solid(box @ frame.T + at + 0.16 * down, faces, {"hand_l": 1.0}, leather)
    if outfit.bag != "handbag":
        tailor.cloth(
            triangles("tights"),
            strap,
            0.034 if outfit.top.kind in ("coat", "jacket") else 0.026,
            leather,
        )
