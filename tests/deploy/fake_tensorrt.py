"""The part of TensorRT's Python module that crosscam uses, with its signatures and habits.

Names, arguments and what is returned are those that the bindings of 10.16 and 11.4 document. What
the two do differently is here: 11 has no flag for strongly typed networks and no old precision
flags; both have a timing cache and no compute capabilities to choose, unlike TensorRT-RTX.
"""

from __future__ import annotations

import enum
import json
from types import SimpleNamespace
from typing import Any


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.ready = True


class IProgressMonitor:
    def __init__(self) -> None:
        self.ready = True


class Flags10(enum.IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = range(2)


class Flags11(enum.IntEnum):
    PREFER_AOT_PYTHON_PLUGINS = 0


class Network:
    def __init__(self, flags: int) -> None:
        self.flags, self.graph = flags, b""
        self.num_inputs = self.num_outputs = 1
        self.num_layers = 2

    def get_layer(self, place: int) -> Any:
        """A convolution of what was dequantised, as its weights are not."""
        read = SimpleNamespace(name="q", dtype="DataType.INT8")
        left = SimpleNamespace(name="d", dtype="DataType.HALF")
        weights = SimpleNamespace(name="w", dtype="DataType.HALF")
        kind, inputs = (("DEQUANTIZE", [read]), ("CONVOLUTION", [left, weights]))[place]
        return SimpleNamespace(
            type=f"LayerType.{kind}",
            num_inputs=len(inputs),
            num_outputs=1,
            get_input=lambda k: inputs[k],
            get_output=lambda k: left if place == 0 else SimpleNamespace(name="y"),
        )

    def get_input(self, place: int) -> Any:
        return SimpleNamespace(name="images", dtype="DataType.FLOAT", shape=(-1, 3, -1, -1))

    def get_output(self, place: int) -> Any:
        return SimpleNamespace(name="embedding", dtype="DataType.FLOAT", shape=(-1, 8))


class Config:
    """Refuses attributes that the real one has not."""

    _KNOWN = frozenset(
        {
            "progress_monitor",
            "builder_optimization_level",
            "profiling_verbosity",
            "hardware_compatibility_level",
            "num_compute_capabilities",
        }
    )

    def __init__(self, fake: FakeTensorRT) -> None:
        self.__dict__.update(
            fake=fake, flags=set(), shapes=[], pools={}, cache=None, capabilities=[]
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._KNOWN:
            raise AttributeError(name)
        self.__dict__[name] = value

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def set_compute_capability(self, capability: str, place: int) -> None:
        assert 0 <= place < self.num_compute_capabilities
        self.capabilities.append(capability)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        high = profile.shapes[2]
        if high[0] > self.fake.most:
            return -1
        self.shapes.append(profile.shapes)
        return len(self.shapes) - 1

    def create_timing_cache(self, content: bytes) -> Any:
        return SimpleNamespace(content=content, serialize=lambda: b"timed " + content)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        if cache.content == b"of another GPU":
            return False
        self.__dict__["cache"] = cache
        return True


class FakeTensorRT:
    """A module; one of it is a `tensorrt`, or with `ComputeCapability` a `tensorrt_rtx`."""

    ILogger = ILogger
    IProgressMonitor = IProgressMonitor
    BuilderFlag = SimpleNamespace(VERSION_COMPATIBLE="VC", STRIP_PLAN="STRIP", REFIT="REFIT")
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    ProfilingVerbosity = SimpleNamespace(DETAILED="DETAILED")
    HardwareCompatibilityLevel = SimpleNamespace(
        NONE="NONE", AMPERE_PLUS="AMPERE_PLUS", SAME_COMPUTE_CAPABILITY="SAME"
    )
    LayerInformationFormat = SimpleNamespace(JSON="JSON")

    def __init__(self, version: str) -> None:
        self.__version__ = version
        eleven = version.startswith("11")
        self.NetworkDefinitionCreationFlag = Flags11 if eleven else Flags10
        self.most = 64
        self.parser_errors: list[tuple[str, str, str]] = []
        self.out_of_memory = False
        self.unreadable = False
        self.configs: list[Config] = []
        self.networks: list[Network] = []

    def Builder(self, logger: ILogger) -> Any:
        assert logger.ready  # pybind refuses one whose __init__ was not called
        fake = self

        class Made:
            def create_network(self, flags: int = 0) -> Network:
                fake.networks.append(Network(flags))
                return fake.networks[-1]

            def create_builder_config(self) -> Config:
                fake.configs.append(Config(fake))
                return fake.configs[-1]

            def create_optimization_profile(self) -> Any:
                made = SimpleNamespace(shapes=())
                made.set_shape = lambda name, *shapes: setattr(made, "shapes", shapes)
                return made

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                monitor = config.__dict__.get("progress_monitor")
                if monitor is not None:
                    assert monitor.ready
                    monitor.phase_start("Building engine", None, 4)
                    for step in range(4):
                        monitor.phase_start("Timing", "Building engine", 9)
                        monitor.step_complete("Timing", 8)
                        monitor.phase_finish("Timing")
                        if not monitor.step_complete("Building engine", step):
                            return None
                    monitor.phase_finish("Building engine")
                if fake.out_of_memory:
                    logger.log(
                        Severity.ERROR, "[memory.cpp] Error Code 2: OutOfMemory (In a at b.cpp:1)"
                    )
                    return None
                return b"plan of " + network.graph

        return Made()

    def OnnxParser(self, network: Network, logger: ILogger) -> Any:
        errors = [
            SimpleNamespace(
                node_operator=lambda op=op: op,
                node_name=lambda name=name: name,
                desc=lambda text=text: text,
            )
            for op, name, text in self.parser_errors
        ]

        def parse(content: bytes, path: str | None = None) -> bool:
            network.graph = content
            return not errors

        return SimpleNamespace(
            parse=parse, num_errors=len(errors), get_error=lambda place: errors[place]
        )

    def Runtime(self, logger: ILogger) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, plan: bytes) -> Any:
        if self.unreadable or not plan.startswith(b"plan of "):
            return None
        layers = [
            {"Name": "conv", "Outputs": [{"Format/Datatype": "Half"}]},
            {"Name": "pool", "Outputs": [{"Format/Datatype": "Channel major FP16 format"}]},
            {"Name": "norm", "Outputs": [{"Format/Datatype": "Float"}]},
            "a layer that is told by its name only",
        ]
        text = json.dumps({"Layers": layers, "Bindings": ["images"]})
        inspector = SimpleNamespace(get_engine_information=lambda form: text)
        return SimpleNamespace(create_engine_inspector=lambda: inspector)


class FakeTensorRTX(FakeTensorRT):
    ComputeCapability = SimpleNamespace(SM86="SM86", SM89="SM89", SM120="SM120")
