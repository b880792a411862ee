"""ONNX Runtime with providers for GPUs: sessions on a `FakeCuda`, with numbers from the processor.

It keeps ONNX Runtime's rules that hurt when they are broken: a provider that cannot be loaded is
left out without a word, a graph that was captured answers from the addresses of its first run, and
what is bound on the device is read and written when the stream comes to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from fake_cuda import FakeCuda, Misuse

GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
CPU = "CPUExecutionProvider"


class FakeGpuRuntime:
    """What happens to sessions; put in place by `install`.

    Attributes:
        opened: Providers with their options, and graph, of each session that was asked for.
        captured: Graph ids of each session that captured, by number of the session.
    """

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.built = GPU
        self.loads = True
        self.refuses_graphs = False
        self.run_fails = ""
        self.opened: list[list[tuple[str, dict[str, str]]]] = []
        self.threads: list[int] = []
        self.captured: list[dict[str, Any]] = []
        self._real = ort.InferenceSession

    def install(self, monkeypatch: Any) -> FakeGpuRuntime:
        monkeypatch.setattr(ort, "get_available_providers", lambda: [*self.built, CPU])
        monkeypatch.setattr(ort, "InferenceSession", self._session)
        return self

    def _session(self, source: Any, options: Any, providers: Any) -> Any:
        if not any(isinstance(each, tuple) for each in providers):
            return self._real(source, options, providers=providers)
        self.opened.append(providers)
        self.threads.append(options.intra_op_num_threads)
        told = dict(providers)
        if self.refuses_graphs and told[GPU[1]]["enable_cuda_graph"] == "1":
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : the model cannot use CUDA Graph")
        real = self._real(source, providers=[CPU])
        names = [name for name, _ in providers] if self.loads else []
        return _Session(self, real, told, names)


class _Session:
    def __init__(self, world: FakeGpuRuntime, real: Any, told: Any, names: list[str]) -> None:
        self.world, self.real, self.names = world, real, names
        (stream,) = {options["user_compute_stream"] for options in told.values()}
        self.stream = int(stream)
        self.graphs = told.get(GPU[1], {}).get("enable_cuda_graph") == "1"
        self.captured: dict[str, Any] = {}
        world.captured.append(self.captured)

    def get_providers(self) -> list[str]:
        return [*self.names, CPU]

    def disable_fallback(self) -> None:
        pass

    def io_binding(self) -> _Binding:
        return _Binding()

    def run_with_iobinding(self, binding: _Binding, options: Any) -> None:
        cuda = self.world.cuda
        if self.world.run_fails:
            raise RuntimeError(self.world.run_fails)
        number = options.get_run_config_entry("gpu_graph_id")
        here = (binding.inputs, {n: each for n, each in binding.outputs.items() if each})
        if self.graphs and number != "-1":
            if len(here[1]) != len(binding.outputs):
                raise Misuse("a graph is captured with outputs that are not bound")
            if self.captured.setdefault(number, here) != here:
                raise Misuse(f"graph {number} is run with other addresses or shapes")
        image, (kind, shape, address) = next(iter(binding.inputs.items()))
        size = int(np.prod(shape)) * np.dtype(kind).itemsize

        def work() -> None:
            pixels = cuda.at(address, size).view(kind).reshape(shape).copy()
            answers = self.real.run([*binding.outputs], {image: pixels})
            for (name, place), answer in zip(binding.outputs.items(), answers, strict=True):
                if place is None:
                    binding.answers[name] = answer
                    continue
                out_kind, out_shape, out = place
                if (answer.dtype, list(answer.shape)) != (np.dtype(out_kind), out_shape):
                    raise Misuse(f"{name} is bound as {out_shape} {out_kind}")
                flat = np.ascontiguousarray(answer).view(np.uint8).ravel()
                cuda.at(out, flat.size)[:] = flat

        addresses = [address, *(place[2] for place in binding.outputs.values() if place)]
        cuda.enqueue(self.stream, work, *addresses)
        if None in binding.outputs.values():
            cuda.synchronise(self.stream)


class _Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.answers: dict[str, np.ndarray] = {}

    def bind_input(
        self, name: str, device: str, _index: int, kind: Any, shape: list[int], address: int
    ) -> None:
        if device != "cuda":
            raise Misuse("pictures are bound in pageable memory")
        self.inputs[name] = (kind, shape, address)

    def bind_output(
        self, name: str, device: str, _index: int = 0, kind: Any = None, shape: Any = None,
        address: int | None = None,
    ) -> None:  # fmt: skip
        self.outputs[name] = None if device == "cpu" else (kind, shape, address)

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        return [self.answers[name] for name in self.outputs]
