"""`Runtime`, the interface, and what all engines share: checks, batching, bounded submission."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, Protocol, Self

import numpy as np

from crosscam_kernels.errors import InputError, RunError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

    Outputs = list[NDArray[np.float32]]

Precision = Literal["auto", "f32", "bf16"]

# Submitted batches that may wait for each stream: enough to hide decoding behind inference, few
# enough to keep memory flat.
_WAITING_PER_STREAM = 2


class Runtime(Protocol):
    """A model ready to run.

    Attributes:
        bundle: The model.
        input_size: Height and width in pixels that it takes: the manifest's, or another one.
    """

    bundle: Bundle
    input_size: tuple[int, int]

    @property
    def name(self) -> str:
        """What it is called, as in `open_runtime`."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, in words."""
        ...

    @property
    def precision(self) -> str:
        """Numbers it computes in, as ``"f32"`` or ``"bf16"``."""
        ...

    @property
    def max_batch(self) -> int | None:
        """Most images that one call takes; None when any. `infer` takes any number either way."""
        ...

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run a `(B, 3, H, W)` float32 batch; returns the outputs in manifest order."""
        ...

    def submit(self, batch: NDArray[np.float32]) -> Future[Outputs]:
        """Start `infer` in the background; waits when too many batches are already waiting."""
        ...

    def warm_up(self) -> None:
        """Run whatever is slower, or takes memory, when it is met for the first time."""
        ...

    def close(self) -> None:
        """Finish submitted work and free the engine; later calls raise `RunError`."""
        ...


class PooledRuntime(ABC):
    """A `Runtime` whose engine is called from a small pool of threads.

    Subclasses set the attributes of `Runtime` and implement `_run`.
    """

    name: str
    device: str
    precision: str
    max_batch: int | None
    bundle: Bundle
    input_size: tuple[int, int]

    def __init__(self, bundle: Bundle, streams: int, input_size: tuple[int, int] | None) -> None:
        self.bundle = bundle
        self.input_size = input_size or native_size(bundle)
        self._streams = max(1, streams)
        self._pool = ThreadPoolExecutor(self._streams, thread_name_prefix="infer")
        self._slots = threading.BoundedSemaphore(self._streams * (1 + _WAITING_PER_STREAM))
        self._closed = False

    @abstractmethod
    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run any number ≥ 1 of images; called from several threads."""

    @abstractmethod
    def _release(self) -> None:
        """Free the engine."""

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run a batch.

        Args:
            batch: `(B, 3, H, W)` float32, pre-processed as the manifest says, of `input_size`; B
                may be 0.

        Returns:
            The graph's outputs in manifest order, batch first.

        Raises:
            ShapeError: The batch has another shape or dtype than the model takes.
            RunError: The engine failed, or the runtime is closed.
        """
        batch = self._checked(batch)
        if len(batch) == 0:
            return self._empty_outputs()
        return self._run(batch)

    def submit(self, batch: NDArray[np.float32]) -> Future[Outputs]:
        """Start `infer` in the background.

        The batch must not be changed until the future is done. When two batches a stream are
        already waiting the call blocks until one is done.
        """
        self._checked(batch)
        self._slots.acquire()
        try:
            future = self._pool.submit(self.infer, batch)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(lambda _future: self._slots.release())
        return future

    def warm_up(self) -> None:
        """Run a black image once."""
        self.infer(np.zeros((1, 3, *self.input_size), np.float32))

    def close(self) -> None:
        """Finish submitted work and free the engine."""
        if self._closed:
            return
        self._pool.shutdown(wait=True)
        self._closed = True
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._closed:
            raise RunError("the runtime is closed", fix="open it again with open_runtime()")
        height, width = self.input_size
        if batch.ndim != 4 or batch.shape[1:] != (3, height, width):
            raise ShapeError(
                f"{self.bundle.manifest.name} was given a batch of shape {batch.shape}",
                expected=f"(B, 3, {height}, {width})",
                fix="prepare images with crosscam_deploy.preprocess or crop_resize_normalize",
            )
        if batch.dtype != np.float32:
            raise ShapeError(
                f"{self.bundle.manifest.name} was given {batch.dtype}",
                expected="float32",
                fix="convert the batch with .astype(numpy.float32)",
            )
        return np.ascontiguousarray(batch)

    def _empty_outputs(self) -> Outputs:
        one = self._run(np.zeros((1, 3, *self.input_size), np.float32))
        return [output[:0] for output in one]


def native_size(bundle: Bundle) -> tuple[int, int]:
    """Return height and width in pixels of the manifest's input."""
    prep = bundle.manifest.preprocessing
    return prep.height, prep.width


def no_other_size(bundle: Bundle, input_size: tuple[int, int]) -> InputError:
    """Return the error for a graph that only takes the size it was exported with."""
    height, width = native_size(bundle)
    return InputError(
        f"{bundle.manifest.name} cannot run at {input_size[0]}x{input_size[1]} (height x width)",
        expected=f"{height}x{width}, the size that its graph was exported for",
        fix="leave the input size (detector_size) out, or export the model with a free image size",
    )


def check_graph(
    bundle: Bundle,
    inputs: Mapping[str, Sequence[int | None]],
    outputs: Mapping[str, Sequence[int | None]],
) -> None:
    """Compare a manifest with the graph it describes.

    Args:
        bundle: The model.
        inputs: Shape of each input of the graph; None for a size that is free.
        outputs: Shape of each output.

    Raises:
        InputError: Names, channels, input size or embedding length do not fit.
    """
    manifest = bundle.manifest
    _check_names(bundle, list(inputs), list(outputs))
    shape = inputs[manifest.input_name]
    prep = manifest.preprocessing
    found = "x".join("any" if size is None else str(size) for size in shape)
    if len(shape) != 4 or shape[1] not in (3, None):
        raise InputError(
            f"the input {manifest.input_name!r} of {manifest.name} has shape {found}",
            expected="batch x 3 x height x width",
            fix="export the model with one image input in NCHW order and import it again",
        )
    height, width = shape[2], shape[3]
    if height not in (prep.height, None) or width not in (prep.width, None):
        raise InputError(
            f"the manifest of {manifest.name} has the wrong pre-processing: it says "
            f"{prep.height}x{prep.width} (height x width), the graph takes {height}x{width}",
            expected=f"height {height} and width {width} in preprocessing",
            fix="correct the manifest, or import the model again with `crosscam models import`",
        )
    if manifest.task == "embed":
        dims = outputs[manifest.output_names[0]]
        length = None if None in dims[1:] else int(np.prod([d or 1 for d in dims[1:]]))
        if length is not None and length != manifest.embedding_dim:
            raise InputError(
                f"the manifest of {manifest.name} says embeddings of {manifest.embedding_dim} "
                f"numbers, the graph returns {length}",
                expected=f"embedding_dim {length}",
                fix="correct the manifest, or import the model again",
            )


def _check_names(bundle: Bundle, inputs: list[str], outputs: list[str]) -> None:
    manifest = bundle.manifest
    if inputs != [manifest.input_name]:
        raise InputError(
            f"the graph of {manifest.name} has the inputs {inputs}",
            expected=f"exactly the manifest's input_name {manifest.input_name!r}",
            fix="correct the manifest, or import the model again with `crosscam models import`",
        )
    missing = [name for name in manifest.output_names if name not in outputs]
    if missing:
        raise InputError(
            f"the graph of {manifest.name} has no output {missing}; it has {outputs}",
            expected="output_names of the manifest among the graph's outputs",
            fix="correct the manifest, or import the model again with `crosscam models import`",
        )


def check_outputs(bundle: Bundle, batch: int, outputs: Outputs) -> Outputs:
    """Return the outputs as float32, refusing one that lost the batch.

    Raises:
        RunError: An output's first size is not the batch.
    """
    for name, output in zip(bundle.manifest.output_names, outputs, strict=True):
        if output.ndim == 0 or output.shape[0] != batch:
            raise RunError(
                f"the output {name!r} of {bundle.manifest.name} has shape {output.shape} for a "
                f"batch of {batch}",
                expected=f"first size {batch}",
                fix="import the model again: the graph does not treat the first size as a batch",
            )
    return [np.asarray(output, np.float32) for output in outputs]
