"""What values run through a graph: the observations that ranges of int8 and fp8 follow from."""

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
        pictures: `(N, 3, H, W)` as the model takes them; each seen twice, alone.

    Returns:
        What was seen of each.
    """
    probe = Probe(model, names)
    # One picture at a time: in transformers the batch is not the first dimension everywhere.
    batches = _batches(model, pictures, 1)
    extremes: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for batch, count in batches:
        for name, values in probe(batch).items():
            rows = _by_picture(values, batch, count).astype(np.float64)
            extremes[name].append(np.stack([rows.min(1), rows.max(1)]))
    found = {name: Observed(*np.concatenate(parts, 1)) for name, parts in extremes.items()}
    for batch, count in batches:
        for name, values in probe(batch).items():
            found[name].add(_by_picture(values, batch, count))
    return found


def _by_picture(values: Floats, batch: Mapping[str, Floats], count: int) -> Floats:
    """Return values as rows, one a picture where a graph of a fixed batch tells them apart."""
    size = len(next(iter(batch.values())))
    if size > 1 and len(values) == size:
        return values.reshape(size, -1)[:count]
    return values.reshape(1, -1)


def channel_extremes(
    model: Any, names: Sequence[str], pictures: Floats
) -> dict[str, NDArray[np.float32]]:
    """Return the largest magnitude of each channel, the last dimension, over all pictures.

    Args:
        model: An ``onnx.ModelProto`` with one input.
        names: Tensors to watch, `(…, C)`.
        pictures: `(N, 3, H, W)` as the model takes them.

    Returns:
        `(C,)` of each.
    """
    probe = Probe(model, names)
    found: dict[str, NDArray[np.float32]] = {}
    for batch, _ in _batches(model, pictures, _AT_ONCE):
        for name, values in probe(batch).items():
            largest = np.abs(values).reshape(-1, values.shape[-1]).max(0)
            found[name] = np.maximum(found[name], largest) if name in found else largest
    return found


def largest(model: Any, names: Sequence[str], pictures: Floats) -> dict[str, float]:
    """Return the largest magnitude in each tensor over all pictures.

    Args:
        model: An ``onnx.ModelProto`` with one input, at opset 13 or later.
        names: Tensors to watch, of floats; any number: only one figure of each leaves the graph.
        pictures: `(N, 3, H, W)` as the model takes them.
    """
    import onnx

    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    told = {name: f"{name}/largest" for name in names}
    for name, output in told.items():
        seen.graph.node.extend(
            (
                onnx.helper.make_node("Abs", [name], [f"{name}/magnitude"]),
                onnx.helper.make_node("ReduceMax", [f"{name}/magnitude"], [output], keepdims=0),
            )
        )
        seen.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    opened = session(seen.SerializeToString())
    found = dict.fromkeys(names, 0.0)
    for batch, _ in _batches(model, pictures, _AT_ONCE):
        values = opened.run(list(told.values()), batch)
        for name, value in zip(names, values, strict=True):
            found[name] = float(np.maximum(found[name], value))  # keeps what is no number
    return found


def _batches(model: Any, pictures: Floats, at_once: int) -> list[tuple[dict[str, Floats], int]]:
    """Cut pictures into batches that the graph takes; the last is filled with its last picture."""
    entry = model.graph.input[0]
    fixed = entry.type.tensor_type.shape.dim[0].dim_value
    size = fixed or min(at_once, len(pictures))
    batches = []
    for start in range(0, len(pictures), size):
        part = pictures[start : start + size]
        filled = part[np.minimum(np.arange(size), len(part) - 1)]
        batches.append(({entry.name: np.ascontiguousarray(filled)}, len(part)))
    return batches


class Asker:
    """Asks a graph about pictures, in one session.

    Args:
        model: An ``onnx.ModelProto`` whose first input takes pictures.
        names: Of its outputs.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self._session = session(model.SerializeToString())
        self._model, self._names = model, list(names)

    def __call__(
        self, pictures: Floats, others: Mapping[str, NDArray[Any]] | None = None
    ) -> list[Floats]:
        """Return the outputs, `(N, …)` each.

        Args:
            pictures: `(N, 3, H, W)` as the model takes them.
            others: Values of its other inputs.
        """
        parts = [
            [
                output[:count]
                for output in self._session.run(self._names, {**batch, **(others or {})})
            ]
            for batch, count in _batches(self._model, pictures, _AT_ONCE)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


def outputs(model: Any, names: Sequence[str], pictures: Floats) -> list[Floats]:
    """Return outputs of a graph for pictures, `(N, …)` each.

    Args:
        model: An ``onnx.ModelProto`` with one input.
        names: Of the outputs.
        pictures: `(N, 3, H, W)` as the model takes them.
    """
    return Asker(model, names)(pictures)
