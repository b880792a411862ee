"""What graphs in fewer bits are judged by: some of the pictures, and the answers in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.precision.emulation import emulated
from crosscam_deploy.precision.loss import Limits, lost
from crosscam_deploy.precision.observe import Asker, outputs
from crosscam_deploy.verify.answers import Inputs
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

    Floats = NDArray[np.float32]

_HELD_OUT = 4  # every fourth picture decides; ranges follow from the others
_QUICK = 8  # pictures are enough to order nodes by what they cost


class Judge:
    """Says how much of a model's answers a graph loses.

    Args:
        bundle: The model in float32.
        model: Its graph.
        inputs: Pictures, at least 8: every fourth is judged on, the others are to calibrate with.
        limits: Most that may be lost.

    Attributes:
        calibration: `(N, 3, H, W)` pictures that nothing is judged on.

    Raises:
        InputError: Too few pictures.
    """

    def __init__(self, bundle: Bundle, model: Any, inputs: Inputs, limits: Limits) -> None:
        if len(inputs.batch) < 2 * _HELD_OUT:
            raise InputError(
                f"{len(inputs.batch)} pictures to calibrate with",
                expected=f"at least {2 * _HELD_OUT}, better 100 or more",
                fix="give more crops or frames",
            )
        held = np.arange(len(inputs.batch)) % _HELD_OUT == 0
        self.calibration = inputs.batch[~held]
        self._bundle, self._limits = bundle, limits
        self._judged = _some(inputs, np.flatnonzero(held))
        self._names = bundle.manifest.output_names
        self._reference = outputs(model, self._names, self._judged.batch)

    def loss(self, graph: Any, *, quick: bool = False) -> float:
        """Return what a graph loses, in shares of the limits.

        Args:
            graph: What would run in 16 bits is emulated.
            quick: Look at a few pictures only.
        """
        return self._share(Asker(emulated(graph), self._names), quick=quick)

    def by_switches(
        self, graph: Any, name: str, nodes: Sequence[str]
    ) -> Callable[[Collection[str]], float]:
        """Return a function that tells the loss with some nodes left in float, in one session.

        Args:
            graph: With an input of switches (`Quantiser.switched`).
            name: Of that input.
            nodes: In the order of the switches.
        """
        asker = Asker(graph, self._names)

        def loss(keep: Collection[str]) -> float:
            kept = set(keep)
            switches = np.array([node not in kept for node in nodes], np.bool_)
            return self._share(asker, quick=len(kept) >= len(nodes) - 1, others={name: switches})

        return loss

    def _share(
        self, asker: Asker, *, quick: bool, others: dict[str, NDArray[Any]] | None = None
    ) -> float:
        count = min(_QUICK, len(self._judged.batch)) if quick else len(self._judged.batch)
        judged = _some(self._judged, np.arange(count))
        was = [values[:count] for values in self._reference]
        found = lost(self._bundle, judged, was, asker(judged.batch, others))
        return self._limits.share(found)


def _some(inputs: Inputs, chosen: NDArray[np.intp]) -> Inputs:
    transforms = tuple(inputs.transforms[k] for k in chosen) if inputs.transforms else ()
    return Inputs(np.ascontiguousarray(inputs.batch[chosen]), transforms, inputs.sizes[chosen])
