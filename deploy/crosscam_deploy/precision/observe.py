"""What values run through a graph: the observations that ranges of int8 are chosen from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.runtime.onnxruntime_engine import session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BINS = 2048
_AT_ONCE = 8


class Observed:
    """Values of one tensor over many pictures.

    Attributes:
        lowest: `(N,)` least value in each picture.
        highest: `(N,)` greatest value in each picture.
        counts: `(BINS,)` how many values lie in each of the equal parts of the whole range.
    """

    def __init__(self, lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> None:
        self.lowest, self.highest = lowest, highest
        self.counts = np.zeros(BINS, np.int64)

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value of all pictures."""
        return float(self.lowest.min()), float(self.highest.max())

    @property
    def centres(self) -> NDArray[np.float64]:
        """`(BINS,)` value in the middle of each part."""
        low, high = self.range
        return np.asarray(low + (np.arange(BINS) + 0.5) * (high - low) / BINS)

    def add(self, values: Floats) -> None:
        """Count values; they must lie in the range."""
        low, high = self.range
        scale = BINS / (high - low) if high > low else 0.0
        cells = ((values.ravel() - low) * scale).astype(np.int64)
        self.counts += np.bincount(np.clip(cells, 0, BINS - 1), minlength=BINS)


class Probe:
    """A float32 graph that also tells the values of inner tensors.

    Args:
        model: An ``onnx.ModelProto``; left as it is.
        names: Of the tensors, inputs of the graph among them if wanted.

    Raises:
        InputError: ONNX Runtime does not take the graph.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        import onnx

        given = {each.name for each in model.graph.input}
        self._given = [name for name in names if name in given]
        self._inner = [name for name in names if name not in given]
        seen = onnx.ModelProto()
        seen.CopyFrom(model)
        outputs = {each.name for each in seen.graph.output}
        seen.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name)
            for name in self._inner
            if name not in outputs
        )
        # unoptimised: fusions would take away the tensors that are asked for
        self._session = session(seen.SerializeToString(), optimise=False)

    def __call__(self, inputs: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
        """Return the tensors' values for a batch."""
        found = dict(zip(self._inner, self._run(inputs), strict=True))
        return found | {name: inputs[name] for name in self._given}

    def _run(self, inputs: Mapping[str, Floats]) -> list[NDArray[Any]]:
        return list(self._session.run(self._inner, dict(inputs))) if self._inner else []


def observe(model: Any, names: Sequence[str], pictures: Floats) -> dict[str, Observed]:
    """Watch tensors while a graph looks at pictures.

    Args:
        model: An ``onnx.ModelProto`` with one input.
        names: Tensors to watch.
        pictures: `(N, 3, H, W)` as the model takes them; seen twice, a few at a time.

    Returns:
        What was seen of each.
    """
    probe = Probe(model, names)
    batches = _batches(model, pictures)
    extremes: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for batch, count in batches:
        for name, values in probe(batch).items():
            rows = values.reshape(len(values), -1)[:count].astype(np.float64)
            extremes[name].append(np.stack([rows.min(1), rows.max(1)]))
    found = {name: Observed(*np.concatenate(parts, 1)) for name, parts in extremes.items()}
    for batch, count in batches:
        for name, values in probe(batch).items():
            found[name].add(values[:count])
    return found


def _batches(model: Any, pictures: Floats) -> list[tuple[dict[str, Floats], int]]:
    """Cut pictures into batches that the graph takes; the last is filled with its last picture."""
    entry = model.graph.input[0]
    size = entry.type.tensor_type.shape.dim[0].dim_value or _AT_ONCE
    batches = []
    for start in range(0, len(pictures), size):
        part = pictures[start : start + size]
        filled = part[np.minimum(np.arange(size), len(part) - 1)]
        batches.append(({entry.name: np.ascontiguousarray(filled)}, len(part)))
    return batches


def outputs(model: Any, names: Sequence[str], pictures: Floats) -> list[Floats]:
    """Return outputs of a graph for pictures, `(N, …)` each.

    Args:
        model: An ``onnx.ModelProto`` with one input.
        names: Of the outputs.
        pictures: `(N, 3, H, W)` as the model takes them.
    """
    opened = session(model.SerializeToString())
    parts = [
        [output[:count] for output in opened.run(list(names), batch)]
        for batch, count in _batches(model, pictures)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
