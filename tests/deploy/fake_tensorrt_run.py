"""`FakeTensorRT` whose engines run: on a `FakeCuda`, with numbers that ONNX Runtime computes.

As in TensorRT, hardly anything is raised: what is not possible answers None or False, and the
logger hears why.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from fake_cuda import FakeCuda, Misuse
from fake_tensorrt import FakeTensorRT, ILogger, Severity

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines import (
    Engine,
    EngineBuilder,
    EngineOptions,
    EngineStore,
    TensorRT,
)
from crosscam_deploy.runtime.tensorrt_engine import TensorRtEngine

VERSION = "10.16.1.11"
_PLAN = b"plan of "
_SCRATCH = 4096


class RunningTensorRT(FakeTensorRT):
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    ExecutionContextAllocationStrategy = SimpleNamespace(STATIC=0, USER_MANAGED=2)
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY=0, EAGER=1)

    def __init__(self, version: str, cuda: FakeCuda, *, rtx: bool = False) -> None:
        super().__init__(version)
        self.cuda, self.rtx = cuda, rtx
        self.capturable = True
        self.contexts = self.builds = 0
        self.noise = 0.0
        self.broken: set[str] = set()
        self.during_build: Any = None
        self.seen: list[bytes] = []
        if rtx:
            self.NetworkDefinitionCreationFlag = SimpleNamespace()

    def Builder(self, logger: ILogger) -> Any:
        made = super().Builder(logger)
        plain = made.build_serialized_network

        def build(network: Any, config: Any) -> bytes | None:
            self.builds += 1
            if self.during_build is not None:
                self.during_build()
            plan = plain(network, config)
            if plan is None:
                return None
            told = {"profiles": config.shapes, "stripped": "STRIP" in config.flags}
            graph = b"" if told["stripped"] else network.graph
            end = json.dumps(told).encode()
            return _PLAN + graph + end + len(end).to_bytes(8, "little")

        made.build_serialized_network = build
        return made

    def Runtime(self, logger: ILogger) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: self._engine(plan, logger))

    def _engine(self, plan: bytes, logger: ILogger) -> Any:
        self.seen.append(plan)
        if self.unreadable:
            logger.log(Severity.ERROR, "Serialization assertion failed (In a at b.cpp:1)")
            return None
        size = int.from_bytes(plan[-8:], "little")
        told = json.loads(plan[-8 - size : -8])
        return FakeEngine(self, plan[len(_PLAN) : -8 - size], told, logger)

    def Refitter(self, engine: FakeEngine, logger: ILogger) -> Any:
        return SimpleNamespace(
            engine=engine,
            refit_cuda_engine=lambda: bool(engine.graph),
            get_missing_weights=lambda: [] if engine.graph else ["w"],
        )

    def OnnxParserRefitter(self, refitter: Any, logger: ILogger) -> Any:
        def refit(content: bytes, path: str | None = None) -> bool:
            if "refit" in self.broken:
                return True
            refitter.engine.graph = content
            return True

        return SimpleNamespace(refit_from_bytes=refit)


class FakeEngine:
    def __init__(self, trt: RunningTensorRT, graph: bytes, told: Any, logger: ILogger) -> None:
        self.trt, self.graph, self.told, self.logger = trt, graph, told, logger
        self.num_optimization_profiles = len(told["profiles"])
        self.device_memory_size_v2 = _SCRATCH
        self._session: Any = None

    @property
    def session(self) -> Any:
        if self._session is None:
            self._session = ort.InferenceSession(self.graph, providers=["CPUExecutionProvider"])
        return self._session

    @property
    def _ports(self) -> list[Any]:
        return [*self.session.get_inputs(), *self.session.get_outputs()]

    def _port(self, name: str) -> Any:
        return next(port for port in self._ports if port.name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._ports)

    def get_tensor_name(self, place: int) -> str:
        return self._ports[place].name

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in [p.name for p in self.session.get_inputs()] else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        if "bf16 output" in self.trt.broken and self.get_tensor_mode(name) == "OUTPUT":
            return "DataType.BF16"
        return "DataType.FLOAT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else -1 for n in self._port(name).shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.told["profiles"][profile]]

    def create_runtime_config(self) -> Any:
        config = SimpleNamespace(dynamic_shapes_kernel_specialization_strategy=0, strategy=0)
        config.set_execution_context_allocation_strategy = lambda s: setattr(config, "strategy", s)
        return config

    def create_execution_context(self, how: Any = 0) -> FakeContext | None:
        if "context" in self.trt.broken:
            self.logger.log(Severity.ERROR, "Error Code 2: OutOfMemory (In a at b.cpp:1)")
            return None
        if self.trt.rtx:
            assert how.dynamic_shapes_kernel_specialization_strategy == 1
            how = how.strategy
        assert how == 2, "a context with memory of its own"
        self.trt.contexts += 1
        return FakeContext(self)

    def create_engine_inspector(self) -> Any:
        text = json.dumps({"Layers": [{"Name": "c", "Outputs": [{"Format/Datatype": "Float"}]}]})
        return SimpleNamespace(get_engine_information=lambda form: text)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.cuda = engine, engine.trt.cuda
        self.profile: int | None = None
        self.shape: tuple[int, ...] | None = None
        self.scratch: tuple[int, int] | None = None
        self.addresses: dict[str, int] = {}
        self.ran = False
        if engine.trt.rtx:
            self.is_stream_capturable = lambda stream: engine.trt.capturable

    def set_device_memory(self, memory: int, size: int) -> None:
        self.cuda.at(memory, size)
        if size < _SCRATCH or memory % 256:
            raise Misuse("not enough memory for a context")
        self.scratch = memory, size

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if not 0 <= profile < self.engine.num_optimization_profiles:
            raise RuntimeError("Error in set optimization profile async.")
        self.cuda.enqueue(stream, lambda: setattr(self, "profile", profile))
        self.shape = None
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.profile is None:
            raise Misuse("the profile was not waited for")
        least, _, most = self.engine.get_tensor_profile_shape(name, self.profile)
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            self.engine.logger.log(Severity.ERROR, f"{shape} is not in profile {self.profile}")
            return False
        self.shape = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        return [] if self.shape else ["images"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self.shape is not None
        if self.engine.get_tensor_mode(name) == "INPUT":
            return self.shape
        if "free output" in self.engine.trt.broken:
            return (-1, 8)
        rest = self.engine.get_tensor_shape(name)[1:]
        return (self.shape[0], *rest)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine, trt = self.engine, self.engine.trt
        if "run" in trt.broken:
            engine.logger.log(Severity.ERROR, "Error Code 1: Cuda Runtime (misaligned address)")
            return False
        if self.scratch is None or self.shape is None:
            raise Misuse("a context runs that was not prepared")
        if self.cuda.capturing is not None and not self.ran:
            raise Misuse("a context is captured that never ran")
        self.ran = True
        shape, scratch, addresses = self.shape, self.scratch, dict(self.addresses)

        def run() -> None:
            self.cuda.at(*scratch).fill(0)
            session = engine.session
            source = session.get_inputs()[0].name
            size = int(np.prod(shape)) * 4
            images = self.cuda.at(addresses[source], size).view(np.float32).reshape(shape)
            names = [port.name for port in session.get_outputs()]
            for name, found in zip(names, session.run(names, {source: images}), strict=True):
                found = found + np.float32(trt.noise) * np.arange(found.size).reshape(found.shape)
                flat = np.ascontiguousarray(found, np.float32).reshape(-1).view(np.uint8)
                self.cuda.at(addresses[name], flat.size)[:] = flat

        self.cuda.enqueue(stream, run, scratch[0], *addresses.values())
        return True


class Machine:
    """A GPU, a TensorRT and an engine store."""

    def __init__(self, root: Path, *, rtx: bool = False, **cuda: Any) -> None:
        self.cuda = FakeCuda(**cuda)
        self.module = RunningTensorRT(VERSION, self.cuda, rtx=rtx)
        self.tensorrt = TensorRT("tensorrt-rtx" if rtx else "tensorrt", self.module, VERSION)
        self.store = EngineStore(root / "engines")

    def build(self, bundle: Bundle, **options: Any) -> Engine:
        chosen = EngineOptions(**({"buckets": (1, 4, 8)} | options))
        built = EngineBuilder(self.tensorrt, self.cuda.device).build(bundle, chosen)
        key = self.store.key(bundle, chosen, self.tensorrt, self.cuda.device)
        return self.store.keep(key, built)

    def open(self, bundle: Bundle, engine: Engine | None = None, **options: Any) -> TensorRtEngine:
        engine = engine or self.build(bundle)
        return TensorRtEngine(bundle, engine, self.tensorrt, self.cuda, **options)
