"""Walking: bone transforms from position, heading, phase and speed.

Legs are solved by two-bone inverse kinematics towards feet that stay planted during stance: the
phase advances with the distance walked, so a standing foot does not slide. Stance lasts 62 % of
the cycle and the foot rolls from the heel to the ball (Winter, Biomechanics and Motor Control of
Human Movement, ch. 4); arms swing against the legs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.body import Body, asset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STANCE = 0.62
_TOE_OFF = -0.75  # radians of foot pitch at toe-off (heel up)
_HEEL_STRIKE = 0.28


@dataclass(frozen=True, slots=True)
class Style:
    """Habits of one walker.

    Attributes:
        stride: Factor on the stride length.
        arm: Factor on the arm swing.
        lean: Forward lean of the trunk, radians.
        bounce: Factor on the turning of hips and shoulders.
        left_bend: Extra bend of the left elbow, radians (a carried phone, a bag strap).
        right_bend: The same on the right.
        width: Half the distance between the feet, metres.
    """

    stride: float = 1.0
    arm: float = 1.0
    lean: float = 0.04
    bounce: float = 1.0
    left_bend: float = 0.0
    right_bend: float = 0.0
    width: float = 0.085


def stride_length(speed: Floats | float, height: float, style: Style) -> Floats:
    """Metres walked in one full cycle (two steps) at a speed in m/s."""
    v = np.maximum(np.asarray(speed, np.float64), 0.0)
    return np.asarray(style.stride * (height / 1.75) * 1.42 * np.sqrt(np.maximum(v, 0.05) / 1.3))


def _rotation(axis: int, angle: Floats) -> Floats:
    """`(F, 3, 3)` rotations about a coordinate axis."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((len(angle), 3, 3))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, i, j], out[:, j, i] = -s, s
    return out


def _align(rest: Floats, target: Floats) -> Floats:
    """`(F, 3, 3)` shortest rotations that turn the direction `rest` into each of `target`."""
    a = rest / np.linalg.norm(rest)
    b = target / np.linalg.norm(target, axis=1, keepdims=True)
    v = np.cross(a, b)
    c = b @ a
    k = np.zeros((len(b), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    k[:, 1, 0], k[:, 2, 0], k[:, 2, 1] = v[:, 2], -v[:, 1], v[:, 0]
    return np.asarray(np.eye(3) + k + k @ k / (1 + c)[:, None, None])


def _foot(phase: Floats, stride: Floats, go: Floats) -> tuple[Floats, Floats, Floats]:
    """Forward place of the foot relative to the hips, lift of the ball, pitch of the foot."""
    half = 0.5 * STANCE * stride
    swing = np.clip((phase - STANCE) / (1 - STANCE), 0, 1)
    ease = swing * swing * (3 - 2 * swing)
    forward = np.where(phase < STANCE, half - stride * phase, -half + 2 * half * ease)
    lift = 0.06 * go * np.sin(np.pi * swing) ** 1.3
    stance = np.interp(
        phase,
        [0, 0.1, 0.34, STANCE, 0.76, 0.92, 1],
        [_HEEL_STRIKE, 0, 0, _TOE_OFF, -0.45, 0.2, _HEEL_STRIKE],
    )
    return forward, lift, go * stance


def poses(
    body: Body,
    style: Style,
    position: Floats,
    heading: Floats,
    phase: Floats,
    speed: Floats,
    look: Floats | None = None,
) -> Floats:
    """Bone transforms for a whole walk.

    Args:
        body: The walker.
        style: Habits.
        position: `(F, 2)` metres on the ground.
        heading: `(F,)` radians from +x.
        phase: `(F,)` cycles; only the fraction counts.
        speed: `(F,)` m/s.
        look: `(F,)` turn of the head, radians to the left.

    Returns:
        `(F, B, 3, 4)` transforms from the rest pose to the world.
    """
    names = asset().bones
    index = {name: k for k, name in enumerate(names)}
    joints = body.joints
    frames = len(position)
    height = float(np.ptp(body.points[:, 2]))
    go = np.clip(speed / 0.7, 0, 1)
    stride = stride_length(speed, height, style) * np.clip(speed / 0.25, 0, 1)
    cycle = 2 * np.pi * phase
    rotation = np.tile(np.eye(3), (frames, len(names), 1, 1))
    place = np.zeros((frames, len(names), 3))

    # Feet first: they decide how high the hips can be.
    feet = {}
    hip_height = np.full(frames, joints[index["thigh_l"], 2] - 0.008)
    for side, shift, sign in (("_l", 0.0, 1.0), ("_r", 0.5, -1.0)):
        own = np.mod(phase + shift, 1.0)
        forward, lift, pitch = _foot(own, stride, go)
        hip, knee, ankle, ball = (
            joints[index[bone + side]] for bone in ("thigh", "calf", "foot", "ball")
        )
        flat = np.zeros((frames, 3))
        flat[:, 0] = forward + (ball[0] - hip[0]) - 0.02
        flat[:, 1] = sign * (style.width * go + (1 - go) * (style.width + 0.02))
        flat[:, 2] = ball[2] + lift
        turn = _rotation(1, -pitch)  # positive pitch raises the toes
        heel = np.einsum("fij,j->fi", turn, ankle - ball)
        up = np.maximum(pitch, 0)  # rolling on the heel: the ball rises instead
        flat[:, 2] += np.sin(up) * 0.13
        at = flat + heel
        reach = 0.996 * (np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))
        flat_gap = (at[:, 0]) ** 2 + (at[:, 1] - hip[1]) ** 2
        hip_height = np.minimum(
            hip_height, at[:, 2] + np.sqrt(np.maximum(reach**2 - flat_gap, 0.01))
        )
        feet[side] = (at, pitch)

    sway = 0.018 * go * style.bounce * np.sin(cycle + 0.6)
    yaw = 0.09 * go * style.bounce * np.cos(cycle)
    pelvis = joints[index["pelvis"]]
    drop = joints[index["thigh_l"], 2] - pelvis[2]
    place[:, 0] = np.stack([np.zeros(frames), sway, hip_height - drop], axis=1)
    rotation[:, 0] = _rotation(2, yaw) @ _rotation(0, 0.035 * go * np.sin(cycle))
    trunk = {"spine_01": 0.4, "spine_02": -0.2, "spine_03": -0.9}
    parent = {
        "spine_01": "pelvis",
        "spine_02": "spine_01",
        "spine_03": "spine_02",
        "neck_01": "spine_03",
        "head": "neck_01",
    }

    def attach(bone: str, to: str) -> None:
        offset = joints[index[bone]] - joints[index[to]]
        place[:, index[bone]] = place[:, index[to]] + np.einsum(
            "fij,j->fi", rotation[:, index[to]], offset
        )

    breath = 0.01 * np.sin(0.7 * cycle + 1)
    for bone, share in trunk.items():
        attach(bone, parent[bone])
        lean = np.full(frames, style.lean) * (0.5 + 0.5 * go) + breath * (1 - go)
        rotation[:, index[bone]] = _rotation(2, share * yaw) @ _rotation(1, lean)
    turn = np.zeros(frames) if look is None else look
    attach("neck_01", "spine_03")
    rotation[:, index["neck_01"]] = _rotation(2, 0.4 * turn) @ _rotation(
        1, np.full(frames, 0.5 * style.lean)
    )
    attach("head", "neck_01")
    rotation[:, index["head"]] = _rotation(2, turn) @ _rotation(1, 0.02 * go * np.sin(2 * cycle))

    for side, sign, shift, bend in (
        ("_l", 1.0, np.pi, style.left_bend),
        ("_r", -1.0, 0.0, style.right_bend),
    ):
        chest = rotation[:, index["spine_03"]]
        attach("clavicle" + side, "spine_03")
        rotation[:, index["clavicle" + side]] = chest
        attach("upperarm" + side, "clavicle" + side)
        calm = 0.25 if bend > 0.6 else 1.0
        swing = 0.42 * go * style.arm * calm * np.cos(cycle + shift) + 0.02
        flex = 0.22 + bend + 0.25 * go * calm * (0.5 + 0.5 * np.cos(cycle + shift))
        out_y = sign * np.full(frames, 0.16)
        upper = np.stack([np.sin(swing), out_y, -np.cos(swing)], axis=1)
        fore = np.stack(
            [
                np.sin(swing + flex),
                sign * (0.02 - 0.15 * min(bend, 1.0)) * np.ones(frames),
                -np.cos(swing + flex),
            ],
            axis=1,
        )
        shoulder, elbow, wrist = (joints[index[b + side]] for b in ("upperarm", "lowerarm", "hand"))
        upper, fore = (np.einsum("fij,fj->fi", chest, d) for d in (upper, fore))
        rotation[:, index["upperarm" + side]] = _align(elbow - shoulder, upper)
        attach("lowerarm" + side, "upperarm" + side)
        rotation[:, index["lowerarm" + side]] = _align(wrist - elbow, fore)
        attach("hand" + side, "lowerarm" + side)
        rotation[:, index["hand" + side]] = rotation[:, index["lowerarm" + side]]

    for side in ("_l", "_r"):
        hip, knee, ankle, ball = (
            joints[index[b + side]] for b in ("thigh", "calf", "foot", "ball")
        )
        attach("thigh" + side, "pelvis")
        start = place[:, index["thigh" + side]]
        at, pitch = feet[side]
        to = at - start
        l1, l2 = float(np.linalg.norm(knee - hip)), float(np.linalg.norm(ankle - knee))
        gap = np.clip(np.linalg.norm(to, axis=1), 0.2, 0.9995 * (l1 + l2))
        direction = to / np.linalg.norm(to, axis=1, keepdims=True)
        along = (l1**2 - l2**2 + gap**2) / (2 * gap)
        out = np.sqrt(np.maximum(l1**2 - along**2, 0))
        ahead = np.array([1.0, 0, 0]) - direction * direction[:, :1]
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        thigh = direction * along[:, None] + ahead * out[:, None]
        shin = direction * gap[:, None] - thigh
        rotation[:, index["thigh" + side]] = _align(knee - hip, thigh)
        attach("calf" + side, "thigh" + side)
        rotation[:, index["calf" + side]] = _align(ankle - knee, shin)
        attach("foot" + side, "calf" + side)
        rotation[:, index["foot" + side]] = _rotation(1, -pitch)
        attach("ball" + side, "foot" + side)
        rotation[:, index["ball" + side]] = _rotation(1, -np.maximum(pitch, 0))

    world = _rotation(2, heading)
    rotation = np.einsum("fij,fbjk->fbik", world, rotation)
    place = np.einsum("fij,fbj->fbi", world, place)
    place[:, :, :2] += position[:, None]
    shift3 = place - np.einsum("fbij,bj->fbi", rotation, joints)
    return np.concatenate([rotation, shift3[..., None]], axis=-1)
