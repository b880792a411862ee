"""The part of ``tensorrt.plugin`` that crosscam uses, with its checks.

Names, arguments and refusals are those of 10.16 and 11.4. Shapes are known here from the start;
expressions of them take the operations that the real ones take, and no others.
"""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "int8", "bool")
NAMES = {
    "FP32": "float32", "FP16": "float16", "BF16": "bfloat16", "INT64": "int64", "INT32": "int32",
    "INT8": "int8", "BOOL": "bool",
}  # fmt: skip
trt = SimpleNamespace(**{name: name for name in DTYPES})


class SymInt32:
    """An expression; never a number to Python, as in an engine whose shapes vary."""

    def __init__(self, value: int | SymInt32) -> None:
        assert type(value) is int or isinstance(value, SymInt32)
        self.value: int = value if isinstance(value, int) else value.value

    def _with(self, other: Any) -> int:
        assert type(other) is int or isinstance(other, SymInt32)
        return other if isinstance(other, int) else other.value

    def __add__(self, other: Any) -> SymInt32:
        return SymInt32(self.value + self._with(other))

    def __sub__(self, other: Any) -> SymInt32:
        return SymInt32(self.value - self._with(other))

    def __mul__(self, other: Any) -> SymInt32:
        return SymInt32(self.value * self._with(other))

    def __floordiv__(self, other: Any) -> SymInt32:
        return SymInt32(self.value // self._with(other))

    def __bool__(self) -> bool:
        raise RuntimeError("Cannot evaluate symbolic expression as boolean.")


class SymIntExprs:
    def __init__(self, length: int) -> None:
        self.held: list[SymInt32 | None] = [None] * length

    def __setitem__(self, place: int, value: SymInt32) -> None:
        if place >= len(self.held):
            raise IndexError("Index out of range")
        assert isinstance(value, SymInt32)  # of another kind, a launch raises TypeError
        self.held[place] = value


class KernelLaunchParams:
    _KNOWN = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")

    def __init__(self) -> None:
        for name in self._KNOWN:
            setattr(self, name, 0 if name == "shared_mem" else 1)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._KNOWN:
            raise AttributeError(f"KernelLaunchParams object has no attribute '{name}'")
        self.__dict__[name] = SymInt32(value)


class TensorDesc:
    def __init__(self, shape: tuple[int | SymInt32, ...], dtype: str) -> None:
        assert dtype in DTYPES
        self.shape_expr = tuple(SymInt32(size) for size in shape)
        self.dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size.value for size in self.shape_expr)


class AutoTuneCombination:
    def __init__(self, io_types: str, layouts: str = "LINEAR", tactics: Any = None) -> None:
        self.types = [part.strip().split("|") for part in io_types.split(",")]
        lengths = {len(part) for part in self.types if len(part) > 1}
        if len(lengths) > 1:
            raise ValueError("contain illegal dependent lengths")
        assert layouts == "LINEAR"

    def takes(self, dtypes: list[str]) -> bool:
        """Whether one of the combinations has these types."""
        most = max(len(part) for part in self.types)
        rows = [part if len(part) == most else part * most for part in self.types]
        return any(list(map(NAMES.get, row)) == dtypes for row in zip(*rows, strict=True))


@dataclass
class Operator:
    inputs: list[str]
    outputs: int
    functions: dict[str, Any] = field(default_factory=dict)


def _is(annotation: Any, kind: type) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, kind)


class FakePlugin:
    """A module; one of it is a ``tensorrt.plugin``."""

    TensorDesc = TensorDesc
    SymInt32 = SymInt32
    SymIntExprs = SymIntExprs
    KernelLaunchParams = KernelLaunchParams
    AutoTuneCombination = AutoTuneCombination

    def __init__(self) -> None:
        self.operators: dict[str, Operator] = {}

    @staticmethod
    def cdiv(first: int | SymInt32, second: int | SymInt32) -> SymInt32:
        if isinstance(first, int) and isinstance(second, int):
            raise ValueError("Both arguments cannot be 'int's")
        one, two = SymInt32(first).value, SymInt32(second).value
        return SymInt32(-(-one // two))

    @staticmethod
    def from_shape_expr(shape_expr: tuple[Any, ...], dtype: str) -> TensorDesc:
        assert isinstance(shape_expr, tuple)
        return TensorDesc(shape_expr, dtype)

    def register(self, plugin_id: str, lazy_register: bool = False) -> Any:
        namespace, name = plugin_id.split("::")
        assert "." not in namespace + name
        assert namespace not in ("", "trt", "tensorrt", "std")

        def decorator(function: Any) -> Any:
            if plugin_id in self.operators:
                raise ValueError(f"already has a definition for '{name}'")
            signature = inspect.signature(function)
            for parameter in signature.parameters.values():
                assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                assert parameter.default is parameter.empty
                assert _is(parameter.annotation, TensorDesc), "a string is no class"
            answer = signature.return_annotation
            outputs = (answer,)
            if typing.get_origin(answer) is tuple:
                outputs = typing.get_args(answer)
            assert all(_is(each, TensorDesc) for each in outputs)
            self.operators[plugin_id] = Operator([*signature.parameters], len(outputs))
            self.operators[plugin_id].functions["register"] = function
            return function

        return decorator

    def autotune(self, plugin_id: str) -> Any:
        def decorator(function: Any) -> Any:
            operator, signature = self.operators[plugin_id], inspect.signature(function)
            assert [*signature.parameters] == [*operator.inputs, "outputs"]
            assert typing.get_origin(signature.return_annotation) is list
            operator.functions["autotune"] = function
            return function

        return decorator

    def aot_impl(self, plugin_id: str) -> Any:
        def decorator(function: Any) -> Any:
            operator, signature = self.operators[plugin_id], inspect.signature(function)
            assert [*signature.parameters] == [*operator.inputs, "outputs", "tactic"]
            outputs = signature.parameters["outputs"].annotation
            assert typing.get_origin(outputs) is tuple
            assert len(typing.get_args(outputs)) == operator.outputs
            answer = typing.get_args(signature.return_annotation)
            assert len(answer) == 4
            assert _is(answer[2], KernelLaunchParams)
            assert _is(answer[3], SymIntExprs)
            operator.functions["aot_impl"] = function
            return function

        return decorator

    # What TensorRT does with it.

    def describe(self, plugin_id: str, *inputs: TensorDesc) -> list[TensorDesc]:
        operator = self.operators[plugin_id]
        found = operator.functions["register"](*inputs)
        outputs = [*found] if operator.outputs > 1 else [found]
        assert len(outputs) == operator.outputs
        (combination,) = operator.functions["autotune"](*inputs, tuple(outputs))
        if not combination.takes([each.dtype for each in (*inputs, *outputs)]):
            raise ValueError("no combination has these types")
        return outputs

    def launch(self, plugin_id: str, *inputs: TensorDesc) -> Any:
        outputs = tuple(self.describe(plugin_id, *inputs))
        function = self.operators[plugin_id].functions["aot_impl"]
        entry, ptx, params, extra = function(*inputs, outputs, 0)
        assert isinstance(entry, str)
        assert isinstance(ptx, str)
        sizes = {name: each.value for name, each in vars(params).items()}
        return SimpleNamespace(
            entry=entry, ptx=ptx, scalars=[each.value for each in extra.held], outputs=outputs,
            grid=(sizes["grid_x"], sizes["grid_y"], sizes["grid_z"]),
            block=(sizes["block_x"], sizes["block_y"], sizes["block_z"]),
            shared=sizes["shared_mem"],
        )  # fmt: skip
