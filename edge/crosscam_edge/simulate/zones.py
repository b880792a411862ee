"""The kinds of places that a site is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_edge.simulate.indoors import corridor, lobby, shop
from crosscam_edge.simulate.street import street

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from crosscam_edge.simulate.zone import Zone

KINDS: dict[str, Callable[[np.random.Generator], Zone]] = {
    "lobby": lobby, "corridor": corridor, "shop": shop, "street": street,
}  # fmt: skip
