"""crosscam's plugins launched as TensorRT launches them: by the interpreter of Triton, or a driver.

Run as a program it is the former: ``TRITON_INTERPRET=1 python plugin_launches.py KERNELS IN OUT``.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from fake_tensorrt_plugin import FakePlugin, TensorDesc, trt

from crosscam_deploy.plugins import PluginKernels, register_plugins

TYPES = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int8": torch.int8, "bool": torch.bool,
}  # fmt: skip


class Launcher(Protocol):
    device: str

    def __call__(self, launch: Any, inputs: list[Any], outputs: list[Any]) -> None: ...


class Plugins:
    """Operators registered with the fake, which tells how each is launched."""

    def __init__(self, kernels: PluginKernels, launcher: Launcher, dtype: str) -> None:
        self._fake, self._launcher = FakePlugin(), launcher
        register_plugins(trt, self._fake, kernels, dtypes=(dtype,))

    def run(self, name: str, *inputs: Any) -> list[Any]:
        """Launch an operator on tensors; returns its outputs, which held garbage before."""
        given = [tensor.to(self._launcher.device).contiguous() for tensor in inputs]
        described = [TensorDesc(tuple(t.shape), str(t.dtype).removeprefix("torch.")) for t in given]
        launch = self._fake.launch(f"crosscam::{name}", *described)
        outputs = [
            torch.full(out.shape, 77, dtype=TYPES[out.dtype], device=self._launcher.device)
            for out in launch.outputs
        ]
        self._launcher(launch, given, outputs)
        return outputs

    def search(self, queries: Any, gallery: Any, *masks: Any) -> list[Any]:
        """Both nodes of a search."""
        first = "SimilarityPartialMasked" if masks else "SimilarityPartial"
        (keys,) = self.run(first, queries, gallery, *masks)
        return [tensor.cpu() for tensor in self.run("SimilarityMerge", keys)]


class Driver:
    """Loads the PTX and launches it with inputs, integers and outputs, and nothing else."""

    device = "cuda"

    def __init__(self) -> None:
        torch.zeros(1, device="cuda")  # makes the primary context current
        self._cuda = ctypes.CDLL("libcuda.so.1")

    def _do(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        assert code == 0, f"{name} answers {code}"

    def __call__(self, launch: Any, inputs: list[Any], outputs: list[Any]) -> None:
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._do("cuModuleLoadData", ctypes.byref(module), launch.ptx.encode() + b"\0")
        entry = launch.entry.encode()
        self._do("cuModuleGetFunction", ctypes.byref(function), module, entry)
        values: list[Any] = [ctypes.c_void_p(tensor.data_ptr()) for tensor in inputs]
        values += [ctypes.c_int32(scalar) for scalar in launch.scalars]
        values += [ctypes.c_void_p(tensor.data_ptr()) for tensor in outputs]
        places = [ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values]
        parameters = (ctypes.c_void_p * len(places))(*places)
        torch.cuda.synchronize()
        self._do(
            "cuLaunchKernel", function, *launch.grid, *launch.block, launch.shared, None,
            parameters, None,
        )  # fmt: skip
        self._do("cuCtxSynchronize")
        self._do("cuModuleUnload", module)


class Interpreter:
    """Runs the source of the kernel whose PTX is to be launched, with the same arguments."""

    device = "cpu"

    def __init__(self) -> None:
        from crosscam_kernels.aot.registry import load_kernels

        self._specs = [spec for _, spec in load_kernels().values() if spec.plugin]

    def __call__(self, launch: Any, inputs: list[Any], outputs: list[Any]) -> None:
        given = [*inputs, *launch.scalars, *outputs]
        spec = next(
            spec
            for spec in self._specs
            if spec.fn.__name__ == launch.entry
            and len(spec.signature) == len(given)
            and launch.block == (32 * spec.num_warps, 1, 1)
            and all(self._fits(*pair) for pair in zip(spec.signature.values(), given, strict=True))
        )
        names = [name for name in spec.fn.arg_names if name in spec.signature]
        spec.fn[launch.grid](**dict(zip(names, given, strict=True)), **spec.constexprs)

    @staticmethod
    def _fits(kind: str, given: Any) -> bool:
        pointer = {
            torch.float32: "*fp32", torch.float16: "*fp16", torch.int64: "*i64",
            torch.int32: "*i32", torch.int8: "*i8", torch.bool: "*u8",
        }  # fmt: skip
        wanted = pointer[given.dtype] if isinstance(given, torch.Tensor) else "i32"
        return kind.partition(":")[0] == wanted


def main(folder: str, source: str, target: str) -> None:
    given = {name: torch.from_numpy(array) for name, array in np.load(source).items()}
    dtype = {torch.float32: "fp32", torch.float16: "fp16"}[given["gallery"].dtype]
    plugins = Plugins(PluginKernels(Path(folder), "sm_80"), Interpreter(), dtype)
    masks = [given["valid"], given["query_camera"], given["gallery_camera"]]
    results = {
        "plain": plugins.search(given["queries"], given["gallery"]),
        "masked": plugins.search(given["queries"], given["gallery"], *masks),
        "codes": plugins.run("NormaliseQuantise", given["rows"]),
    }
    arrays = {
        f"{k}{place}": t.numpy() for k, found in results.items() for place, t in enumerate(found)
    }
    np.savez(target, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
