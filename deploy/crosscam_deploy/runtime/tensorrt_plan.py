"""`Plan`: an engine's plan, taken in by TensorRT, and what the runtime must know of it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosscam_deploy.engines.store import check_usable
from crosscam_deploy.runtime.base import check_graph, native_size
from crosscam_kernels.errors import CrosscamError, InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.api import Messages, TensorRT
    from crosscam_deploy.engines.store import Engine
    from crosscam_deploy.runtime.cuda import Cuda

_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


class Bucket(NamedTuple):
    """A number of pictures that the engine takes at once, and the profile that takes it."""

    size: int
    profile: int


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output.

    Attributes:
        name: Of the tensor.
        shape: -1 for what is free.
        dtype: Of its numbers, in NumPy.
    """

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic]


class Plan:
    """A plan in memory of the device; made and closed inside ``with cuda.current():``.

    Args:
        engine: From an `EngineStore`.
        bundle: What the engine was built from.
        tensorrt: That shall run it.
        cuda: Where.

    Attributes:
        input: The pictures.
        outputs: All of them, those of the manifest first and in its order.
        size: Height and width of the pictures in pixels.
        buckets: By number of pictures.
        scratch: Bytes of device memory that a context works in.

    Raises:
        InputError: Another model's engine, a damaged plan, or one that TensorRT refuses or that
            does not fit the manifest.
        RunError: It was built for another TensorRT or GPU, or there is no memory for it.
    """

    def __init__(self, engine: Engine, bundle: Bundle, tensorrt: TensorRT, cuda: Cuda) -> None:
        check_usable(engine, tensorrt, cuda.device)
        _check_origin(engine, bundle)
        self.tensorrt, self.path = tensorrt, engine.path
        self._name = bundle.manifest.name
        self.messages: Messages = tensorrt.messages()
        content = engine.plan()
        trt = tensorrt.module
        with self.told("load the engine"):
            self._runtime: Any = trt.Runtime(self.messages.logger)
            self._engine: Any = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise InputError(
                f"{tensorrt.flavour} {tensorrt.version} refuses the engine of {self._name} in "
                f"{engine.path}: {self.messages.said()}",
                expected="a plan that this TensorRT and driver read",
                fix="delete the folder and build the engine again",
            )
        if engine.manifest.options.stripped:
            self._refit(bundle)
        ports = self._ports()
        names = bundle.manifest.output_names
        self.outputs = _in_order(ports[trt.TensorIOMode.OUTPUT], names)
        inputs = ports[trt.TensorIOMode.INPUT]
        check_graph(
            bundle,
            {port.name: _free(port.shape) for port in inputs},
            {port.name: _free(port.shape) for port in self.outputs},
        )
        self.input = inputs[0]
        self.size = native_size(bundle)
        self.buckets = self._buckets(engine, self.size)
        self.scratch = int(self._engine.device_memory_size_v2)

    def context(self) -> Any:
        """Return a new execution context without memory of its own.

        Raises:
            RunError: TensorRT makes none.
        """
        trt = self.tensorrt.module
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self.told("prepare"):
            if self.tensorrt.rtx:
                # Kernels for the shape are compiled before the first answer, not during later
                # ones: a graph would keep those that were there when it was captured.
                config = self._engine.create_runtime_config()
                config.set_execution_context_allocation_strategy(strategy)
                kinds = trt.DynamicShapesKernelSpecializationStrategy
                config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
                made = self._engine.create_execution_context(config)
            else:
                made = self._engine.create_execution_context(strategy)
        if made is None:
            raise self.failed("prepare")
        return made

    def failed(self, doing: str, why: object = "") -> RunError:
        """Return the error of something that TensorRT did not do."""
        said = f"{why or self.messages.said()}"
        return RunError(
            f"{self.tensorrt.flavour} {self.tensorrt.version} could not {doing} {self._name}: "
            + said[:500],
            fix="look at nvidia-smi and `crosscam doctor`; --runtime onnxruntime runs everywhere",
        )

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Turn what TensorRT's bindings raise into a `RunError`."""
        try:
            yield
        except CrosscamError:
            raise
        except Exception as error:  # RuntimeError, MemoryError, TypeError of the bindings
            raise self.failed(doing, error) from None

    def close(self) -> None:
        """Free it; its contexts must be gone."""
        # In this order: TensorRT calls the logger when it lets go.
        self._engine = None
        self._runtime = None

    def _refit(self, bundle: Bundle) -> None:
        """Put the weights of the bundle's graph into a plan that was kept without."""
        trt = self.tensorrt.module
        content = bundle.model_path.read_bytes()
        expected = bundle.manifest.files[bundle.manifest.model_file]
        if hashlib.sha256(content).hexdigest() != expected:
            raise InputError(
                f"the graph of {self._name} was changed while it was open",
                expected=f"sha256 {expected}",
                fix="load the bundle again",
            )
        with self.told("put the weights into"):
            refitter = trt.Refitter(self._engine, self.messages.logger)
            parser = trt.OnnxParserRefitter(refitter, self.messages.logger)
            done = parser.refit_from_bytes(content, str(bundle.model_path))
            done = done and refitter.refit_cuda_engine()
            missing = list(refitter.get_missing_weights())
        if not done or missing:
            names = f"no weights for {', '.join(missing[:3])}" if missing else ""
            raise self.failed("put the weights into", names)

    def _ports(self) -> dict[Any, list[Port]]:
        """Return the inputs and outputs."""
        modes = self.tensorrt.module.TensorIOMode
        found: dict[Any, list[Port]] = {modes.INPUT: [], modes.OUTPUT: []}
        for place in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(place)
            shape = tuple(int(n) for n in self._engine.get_tensor_shape(name))
            told = str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]
            if told not in _DTYPES:
                raise InputError(
                    f"{name!r} of the engine of {self._name} is in {told}",
                    expected=f"inputs and outputs in {', '.join(_DTYPES)}",
                    fix="export the model with float32 inputs and outputs and build it again",
                )
            found[self._engine.get_tensor_mode(name)].append(Port(name, shape, _DTYPES[told]))
        return found

    def _buckets(self, engine: Engine, size: tuple[int, int]) -> tuple[Bucket, ...]:
        found: dict[int, int] = {}
        if -1 not in self.input.shape:
            found[self.input.shape[0]] = 0
        else:
            for profile in range(self._engine.num_optimization_profiles):
                least, _, most = (
                    tuple(int(n) for n in shape)
                    for shape in self._engine.get_tensor_profile_shape(self.input.name, profile)
                )
                if not all(a <= b <= c for a, b, c in zip(least[2:], size, most[2:], strict=True)):
                    continue
                sizes = {most[0], *engine.manifest.options.buckets}
                for count in sizes:
                    if least[0] <= count <= most[0]:
                        found.setdefault(count, profile)
        if not found:
            raise InputError(
                f"the engine of {self._name} in {self.path} has no profile for pictures of "
                f"{size[0]}x{size[1]} (height x width)",
                expected="a profile for the size that the manifest names",
                fix="delete the folder and build the engine again",
            )
        return tuple(Bucket(*pair) for pair in sorted(found.items()))


def _check_origin(engine: Engine, bundle: Bundle) -> None:
    graph = bundle.manifest.files[bundle.manifest.model_file]
    made_for = engine.manifest
    if made_for.model_id != bundle.model_id or made_for.graph_sha256 != graph:
        raise InputError(
            f"the engine in {engine.path} was built from another model than "
            f"{bundle.manifest.name}: {made_for.name}, {made_for.model_id[:12]}",
            expected=f"an engine of {bundle.model_id[:12]}",
            fix="build an engine of this model with `crosscam build`",
        )


def _in_order(ports: list[Port], names: tuple[str, ...]) -> tuple[Port, ...]:
    places = {name: place for place, name in enumerate(names)}
    return tuple(sorted(ports, key=lambda port: places.get(port.name, len(names))))


def _free(shape: tuple[int, ...]) -> list[int | None]:
    return [None if size < 0 else size for size in shape]
