from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class Mesh: ...
class Scenery: ...

class View:
    def render(
        self,
        meshes: Sequence[Mesh],
        poses: NDArray[np.float32],
        noise_seed: int,
        want_ids: bool = False,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8] | None]: ...
    def render_parts(
        self, meshes: Sequence[Mesh], poses: NDArray[np.float32], noise_seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]: ...

def make_mesh(
    rest: NDArray[np.float32],
    texture: NDArray[np.float32],
    cut: NDArray[np.float32],
    shade: NDArray[np.float32],
    bone: NDArray[np.int32],
    weight: NDArray[np.float32],
    triangle: NDArray[np.int32],
    material_of: NDArray[np.int32],
    materials: NDArray[np.float32],
    bones: int,
) -> Mesh: ...
def make_scenery(
    corners: NDArray[np.float32],
    material_of: NDArray[np.int32],
    materials: NDArray[np.float32],
    lamps: NDArray[np.float32],
    sky: NDArray[np.float32],
    ground: NDArray[np.float32],
) -> Scenery: ...
def make_view(
    scenery: Scenery,
    camera: NDArray[np.float64],
    look: NDArray[np.float32],
    ambient_rays: int,
    seed: int,
) -> View: ...
