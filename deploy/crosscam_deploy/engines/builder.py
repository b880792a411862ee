"""`EngineBuilder`: an ONNX bundle compiled into a plan.

Networks are strongly typed: an engine computes in the types of its graph, in every version. A plan
in half precision or int8 therefore comes from a bundle of that precision (`crosscam build`).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from crosscam_deploy.engines.inspector import layer_types
from crosscam_deploy.engines.manifest import EngineManifest, Tensor
from crosscam_deploy.engines.network import product_types
from crosscam_deploy.engines.unsigned_pairs import unsigned_pairs
from crosscam_deploy.export.search_ops import plugin_free
from crosscam_deploy.graph_safety import PLUGIN_DOMAIN, check_safe
from crosscam_deploy.log import get_logger
from crosscam_deploy.plugins.lowering import two_nodes
from crosscam_kernels.errors import CrosscamError, InputError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines.api import Messages, TensorRT
    from crosscam_deploy.engines.device import Device
    from crosscam_deploy.engines.options import EngineOptions, Profile

    Progress = Callable[[str, float], None]

_log = get_logger("engines")


class Built(NamedTuple):
    """A plan and what it is."""

    plan: bytes
    manifest: EngineManifest


class EngineBuilder:
    """Builds engines with one TensorRT.

    Args:
        tensorrt: From `find_tensorrt`.
        device: GPU to build on; None where there is none, which TensorRT-RTX can do with.
        timings: File in which TensorRT keeps how fast kernels were, so that the next build of a
            similar graph is quicker and alike; None for none. TensorRT-RTX does not time.
        progress: Is told the step and its share in [0, 1]; may raise to stop the build.
        plugins: Whether `crosscam_deploy.plugins.register_plugins` was called in this process:
            searches are then crosscam's own kernels. Without, they are layers of TensorRT's.
    """

    def __init__(
        self,
        tensorrt: TensorRT,
        device: Device | None = None,
        *,
        timings: Path | None = None,
        progress: Progress | None = None,
        plugins: bool = False,
    ) -> None:
        self.tensorrt, self.device, self._plugins = tensorrt, device, plugins
        self._timings = None if tensorrt.rtx else timings
        self._progress = progress

    def build(self, bundle: Bundle, options: EngineOptions) -> Built:
        """Compile a bundle's graph.

        Args:
            bundle: Verified, in ONNX.
            options: How.

        Raises:
            UsageError: Options that this TensorRT cannot serve, or no GPU where one is needed.
            InputError: TensorRT cannot read the graph, or the graph was changed meanwhile.
            RunError: The build failed.
        """
        self._check(bundle, options)
        messages = self.tensorrt.messages()
        try:
            return self._build(bundle, options, messages)
        except CrosscamError as error:
            # The frames of a traceback keep what TensorRT made, until Python's collector of cycles
            # frees it in any order. TensorRT hangs for ever when a builder outlives its logger.
            raise error.with_traceback(None) from None

    def _build(self, bundle: Bundle, options: EngineOptions, messages: Messages) -> Built:
        began, trt = time.monotonic(), self.tensorrt.module
        builder = trt.Builder(messages.logger)
        network = builder.create_network(self._flags())
        graph = self._parse(bundle, network, messages)
        config = builder.create_builder_config()
        profiles = options.profiles_for(any_batch=bundle.manifest.dynamic_batch)
        self._add_profiles(bundle, builder, network, config, profiles)
        self._configure(config, options)
        monitor = None if self._progress is None else _monitor_class(trt)(self._progress)
        if monitor is not None:
            config.progress_monitor = monitor
        timings = self._open_timings(config)
        memory = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.stopped is not None:
            raise monitor.stopped
        if memory is None:
            raise RunError(
                f"{self._name()} could not build {bundle.manifest.name}: {messages.said()}",
                fix="smaller buckets or workspace_mib when memory ran out, else another precision",
            )
        self._keep_timings(timings)
        plan = bytes(memory)
        manifest = EngineManifest(
            name=bundle.manifest.name,
            model_id=bundle.model_id,
            graph_sha256=graph,
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            plan_bytes=len(plan),
            flavour=self.tensorrt.flavour,
            version=self.tensorrt.version,
            options=options,
            device=None if self.device is None else self.device.name,
            capability=None if self.device is None else self.device.capability,
            profiles=profiles,
            inputs=tuple(_tensor(network.get_input(k)) for k in range(network.num_inputs)),
            outputs=tuple(_tensor(network.get_output(k)) for k in range(network.num_outputs)),
            products=product_types(network),
            layers=self._read_back(plan, messages) if self.device is not None else None,
            seconds=round(time.monotonic() - began, 3),
        )
        return Built(plan, manifest)

    def _flags(self) -> int:
        flags = self.tensorrt.strongly_typed()
        if self._plugins:
            flags |= self.tensorrt.ahead_of_time_plugins()
        return flags

    def _name(self) -> str:
        return f"{self.tensorrt.flavour} {self.tensorrt.version}"

    def _check(self, bundle: Bundle, options: EngineOptions) -> None:
        name = bundle.manifest.name
        if bundle.manifest.format != "onnx":
            raise UsageError(
                f"{name} is in the format {bundle.manifest.format}",
                expected="an ONNX bundle: TensorRT reads no other",
                fix="export the model to ONNX",
            )
        if options.capabilities and not self.tensorrt.rtx:
            raise UsageError(
                f"capabilities {', '.join(options.capabilities)} for {self._name()}",
                expected="none: TensorRT builds for the GPU that it builds on",
                fix="leave them out, set `hardware` for other GPUs, or build with TensorRT-RTX",
            )
        if self.device is None and not (self.tensorrt.rtx and options.capabilities):
            fix = "build on the machine that will run it, where a CUDA device and driver are"
            if self.tensorrt.rtx:
                fix = f"say for which GPUs, for example capabilities ('8.6',), or {fix}"
            raise UsageError(f"{self._name()} finds no CUDA device to build {name} for", fix=fix)

    def _parse(self, bundle: Bundle, network: Any, messages: Messages) -> str:
        """Read the graph; returns its sha256."""
        content = bundle.model_path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        expected = bundle.manifest.files[bundle.manifest.model_file]
        if found != expected:
            raise InputError(
                f"the graph of {bundle.manifest.name} was changed while it was open",
                expected=f"sha256 {expected}",
                fix="load the bundle again",
            )
        check_safe(bundle.model_path)
        _check_signed(bundle, content)
        content = _with_layers_for_own_operators(content, plugins=self._plugins)
        parser = self.tensorrt.module.OnnxParser(network, messages.logger)
        if not parser.parse(content, str(bundle.model_path)):
            errors = [parser.get_error(k) for k in range(min(parser.num_errors, 3))]
            where = [f"{e.node_operator()} {e.node_name()!r}: {e.desc()}" for e in errors]
            raise InputError(
                f"{self._name()} cannot read {bundle.manifest.name}: "
                + ("; ".join(text[:300] for text in where) or messages.said()),
                expected="operators that TensorRT has, in types that it has them in",
                fix="export without the operator that is named, or in another precision",
            )
        _check_inputs(bundle, network)
        return found

    def _add_profiles(
        self,
        bundle: Bundle,
        builder: Any,
        network: Any,
        config: Any,
        profiles: tuple[Profile, ...],
    ) -> None:
        inputs, prep = _inputs(network), bundle.manifest.preprocessing
        pictures = inputs.pop(bundle.manifest.input_name)
        a_number_each = [name for name, tensor in inputs.items() if -1 in tuple(tensor.shape)]
        for profile in profiles:
            made = builder.create_optimization_profile()
            counts = (profile.least, profile.typical, profile.most)
            shapes = [(count, 3, prep.height, prep.width) for count in counts]
            made.set_shape(pictures.name, *shapes)
            for name in a_number_each:
                made.set_shape(name, *((count,) for count in counts))
            if config.add_optimization_profile(made) < 0:
                raise InputError(
                    f"{bundle.manifest.name} does not take batches of {shapes[0]} to {shapes[2]}",
                    expected=f"shapes that fit its input {tuple(pictures.shape)}",
                    fix="correct the manifest's size, or export with a free batch size",
                )

    def _configure(self, config: Any, options: EngineOptions) -> None:
        trt = self.tensorrt.module
        flags = {
            "VERSION_COMPATIBLE": options.version_compatible,
            "STRIP_PLAN": options.stripped,
            "REFIT": options.refittable,
        }
        for name, wanted in flags.items():
            if wanted:
                config.set_flag(getattr(trt.BuilderFlag, name))
        config.builder_optimization_level = options.level
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(
                trt.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20
            )
        if options.capabilities:
            config.num_compute_capabilities = len(options.capabilities)
            for place, capability in enumerate(options.capabilities):
                config.set_compute_capability(_capability(trt, capability), place)
        if options.hardware != "this":
            level = trt.HardwareCompatibilityLevel
            config.hardware_compatibility_level = (
                level.AMPERE_PLUS
                if options.hardware == "ampere-and-later"
                else level.SAME_COMPUTE_CAPABILITY
            )

    def _open_timings(self, config: Any) -> Any:
        if self._timings is None:
            return None
        kept = self._timings.read_bytes() if self._timings.is_file() else b""
        cache = config.create_timing_cache(kept)
        if not config.set_timing_cache(cache, False):
            _log.info("timings of another TensorRT or GPU left aside", file=str(self._timings))
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        return cache

    def _keep_timings(self, cache: Any) -> None:
        if cache is None or self._timings is None:
            return
        staging = self._timings.with_suffix(".part")
        try:
            staging.parent.mkdir(parents=True, exist_ok=True)
            staging.write_bytes(bytes(cache.serialize()))
            os.replace(staging, self._timings)
        except OSError as error:  # the next build is slower, no more
            _log.warning("timings not kept", file=str(self._timings), error=str(error))

    def _read_back(self, plan: bytes, messages: Messages) -> dict[str, int]:
        """Return type of numbers → layers, as the inspector tells of the finished engine."""
        trt = self.tensorrt.module
        engine = trt.Runtime(messages.logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise RunError(
                f"{self._name()} does not read the engine that it has built: {messages.said()}"
            )
        inspector = engine.create_engine_inspector()
        told = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
        return layer_types(told)


def _with_layers_for_own_operators(content: bytes, *, plugins: bool) -> bytes:
    """Return a graph in which crosscam's own operators are plugins, or written out."""
    if PLUGIN_DOMAIN.encode() not in content:
        return content
    import onnx

    model = onnx.load_from_string(content)
    made = two_nodes(model) if plugins else plugin_free(model)
    written: bytes = made.SerializeToString()
    return written


def _check_signed(bundle: Bundle, content: bytes) -> None:
    """Refuse int8 that TensorRT would misread without a word."""
    if b"QuantizeLinear" not in content:  # names of operators stand in a file as they are
        return
    import onnx

    found = unsigned_pairs(onnx.load_from_string(content))
    if found:
        raise InputError(
            f"{bundle.manifest.name} quantises to unsigned numbers or around another zero than 0 "
            f"({found[0]} and {len(found) - 1} more), which TensorRT does not have",
            expected="int8 with zero in the middle",
            fix="build the model for this GPU: crosscam build MODEL --target gpu",
        )


_A_NUMBER_EACH = (-1,)
"""Shape of an input with one number for each picture."""


def _inputs(network: Any) -> dict[str, Any]:
    tensors = [network.get_input(place) for place in range(network.num_inputs)]
    return {tensor.name: tensor for tensor in tensors}


def _check_inputs(bundle: Bundle, network: Any) -> None:
    """Refuse a network whose shapes do not follow from the number of pictures alone."""
    inputs, pictures = _inputs(network), bundle.manifest.input_name
    if pictures not in inputs:
        raise InputError(
            f"{bundle.manifest.name} has the inputs {', '.join(inputs)}",
            expected=f"the pictures, {pictures!r}",
            fix="correct input_name in the manifest",
        )
    for name, tensor in inputs.items():
        shape = tuple(int(size) for size in tensor.shape)
        if name != pictures and -1 in shape and shape != _A_NUMBER_EACH:
            raise InputError(
                f"{bundle.manifest.name} has the input {name!r} of shape {shape}",
                expected="sizes that are fixed, in every input but the pictures",
                fix="export it with fixed sizes: a retrieval head with a capacity",
            )


def _tensor(tensor: Any) -> Tensor:
    dtype = str(tensor.dtype).rpartition(".")[2].lower()
    return Tensor(name=tensor.name, dtype=dtype, shape=tuple(int(n) for n in tensor.shape))


def _capability(trt: Any, capability: str) -> Any:
    name = "SM" + capability.replace(".", "")
    found = getattr(trt.ComputeCapability, name, None)
    if found is None:
        offered = sorted(n for n in dir(trt.ComputeCapability) if n.startswith("SM"))
        known = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in offered)
        raise UsageError(
            f"TensorRT-RTX {trt.__version__} does not build for compute capability {capability}",
            expected=f"one of {known}",
            fix="use TensorRT on that device",
        )
    return found


@cache
def _monitor_class(trt: Any) -> Any:
    """Return an `IProgressMonitor` that tells of the outermost phase; one class for good."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self, progress: Progress) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped: BaseException | None = None
            self._progress = progress
            self._outer: tuple[str, int] | None = None

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if self._outer is None:
                self._outer = name, max(steps, 1)
                self._tell(0.0)

        def step_complete(self, name: str, step: int) -> bool:
            if self._outer is not None and name == self._outer[0]:
                self._tell(min((step + 1) / self._outer[1], 1.0))
            return self.stopped is None

        def phase_finish(self, name: str) -> None:
            if self._outer is not None and name == self._outer[0]:
                self._tell(1.0)
                self._outer = None

        def _tell(self, share: float) -> None:
            assert self._outer is not None
            if self.stopped is not None:
                return
            try:
                self._progress(self._outer[0], share)
            except BaseException as error:  # goes on in Python when TensorRT has let go
                self.stopped = error

    return Monitor
