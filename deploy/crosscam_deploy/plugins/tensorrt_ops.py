"""crosscam's operators told to TensorRT, through its ``tensorrt.plugin`` (10.9 and later).

A search is two nodes, because a plugin is one launch::

    queries (Q, D), gallery (G, D) ─► SimilarityPartial ─► keys (Q, splits * K) ─► SimilarityMerge

The gallery is split over the multiprocessors; each part's K best become 64-bit keys, whose order is
that of the results, and the second kernel sorts them out. An engine with them needs neither Python
nor Triton: their PTX is inside.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from crosscam_deploy.plugins.lowering import LISTS, MASKED, MERGE, PARTIAL, QUANTISE
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crosscam_deploy.plugins.kernels import PluginKernel, PluginKernels

_WIDE = 512  # features that the narrower kernel of NormaliseQuantise takes in one step
_MULTIPLE = 16  # what its compiler was promised of their number, and nobody checks later
_TYPES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
_UNUSED = ("camera_rows", "camera_words", "window_low", "window_high", "unbounded")
"""Of masks that plugins do not have: the kernels take them and do not look."""


def register_plugins(
    trt: Any, trtp: Any, kernels: PluginKernels, *, dtypes: Sequence[str] = tuple(_TYPES)
) -> None:
    """Register crosscam's operators in a process; TensorRT takes each name once.

    Args:
        trt: The module ``tensorrt``.
        trtp: The module ``tensorrt.plugin``.
        kernels: Of the device that engines are built for.
        dtypes: Types of embeddings and galleries that engines will have, of ``"fp32"``, ``"fp16"``
            and ``"bf16"``.

    Raises:
        UsageError: A kernel was not compiled for it.
        InputError: One cannot be launched by TensorRT, or two do not fit each other.
    """
    operators = _Operators(trt, trtp, kernels, dtypes)
    floats = "|".join(_TYPES[dtype] for dtype in dtypes)
    tensor, both = trtp.TensorDesc, (trtp.TensorDesc, trtp.TensorDesc)
    plain = ("queries", "gallery")
    masked = (*plain, "valid", "query_camera", "gallery_camera")
    masks = "BOOL, INT32, INT32, "
    for name, inputs, types in ((PARTIAL, plain, ""), (MASKED, masked, masks)):
        _register(
            trtp,
            name,
            inputs,
            (tensor,),
            describe=operators.describe_partial,
            types=f"{floats}, {floats}, {types}INT64",
            implement=partial(operators.implement_partial, masked=inputs is masked),
        )
    _register(
        trtp,
        MERGE,
        ("keys",),
        both,
        describe=operators.describe_merge,
        types="INT64, FP32, INT64",
        implement=operators.implement_merge,
    )
    _register(
        trtp,
        QUANTISE,
        ("rows",),
        both,
        describe=operators.describe_quantise,
        types=f"{floats}, INT8, FP32",
        implement=operators.implement_quantise,
    )


class _Operators:
    """What the operators do with descriptions of tensors."""

    def __init__(self, trt: Any, trtp: Any, kernels: PluginKernels, dtypes: Sequence[str]) -> None:
        self._trt, self._trtp, self._kernels = trt, trtp, kernels
        self._merge = kernels.get(f"similarity_merge_k{LISTS}", inputs=1, outputs=2)
        self._names = {trt.float32: "fp32", trt.float16: "fp16", trt.bfloat16: "bf16"}
        self._tile = self._stream(dtypes[0], masked=False).size("BN")
        for dtype in dtypes:
            for masked in (False, True):
                self._check_fit(self._stream(dtype, masked=masked))

    def _stream(self, dtype: str, *, masked: bool) -> PluginKernel:
        name = f"similarity_stream_plugin_{'masked_' if masked else ''}{dtype}_16_k{LISTS}"
        return self._kernels.get(name, inputs=5 if masked else 2, outputs=1)

    def _check_fit(self, stream: PluginKernel) -> None:
        for kernel in (stream, self._merge):
            if kernel.size("K") != LISTS:
                raise InputError(
                    f"{kernel.name} keeps lists of {kernel.size('K')}", expected=f"{LISTS}"
                )
        if stream.size("BN") != self._tile:
            raise InputError(
                f"{stream.name} takes {stream.size('BN')} rows at a time",
                expected=f"{self._tile}, as the others do",
            )

    def _split(self, rows: Any) -> tuple[Any, Any]:
        """Rows of a part, and number of parts: so few that one block merges their lists."""
        most = self._merge.size("BLOCK") // LISTS
        of_part = self._trtp.cdiv(self._trtp.cdiv(rows, self._tile), most) * self._tile
        return of_part, self._trtp.cdiv(rows, of_part)

    def describe_partial(self, queries: Any, gallery: Any, *_: Any) -> Any:
        _, splits = self._split(gallery.shape_expr[0])
        shape = (queries.shape_expr[0], splits * LISTS)
        return self._trtp.from_shape_expr(shape, dtype=self._trt.int64)

    def implement_partial(self, queries: Any, gallery: Any, *_: Any, masked: bool) -> Any:
        kernel = self._stream(self._names[gallery.dtype], masked=masked)
        rows, dim = gallery.shape_expr[0], gallery.shape_expr[1]
        count = queries.shape_expr[0]
        of_part, splits = self._split(rows)
        blocks = self._trtp.cdiv(count, kernel.size("BM"))
        scalars = {
            "query_count": count,
            "gallery_count": rows,
            "dim": dim,
            "query_stride": dim,
            "gallery_stride": dim,
            "query_blocks": blocks,
            "splits": splits,
            "rows_per_split": of_part,
            **dict.fromkeys(_UNUSED, 0),
        }
        return self._launch(kernel, blocks * splits, scalars)

    def describe_merge(self, keys: Any) -> Any:
        shape = (keys.shape_expr[0], LISTS)
        trt, made = self._trt, self._trtp.from_shape_expr
        return made(shape, dtype=trt.float32), made(shape, dtype=trt.int64)

    def implement_merge(self, keys: Any) -> Any:
        scalars = {"count": keys.shape_expr[1], "nodes": 1}
        return self._launch(self._merge, keys.shape_expr[0], scalars)

    def describe_quantise(self, rows: Any) -> Any:
        trt, made = self._trt, self._trtp.from_shape_expr
        count, dim = rows.shape_expr[0], rows.shape_expr[1]
        return made((count, dim), dtype=trt.int8), made((count,), dtype=trt.float32)

    def implement_quantise(self, rows: Any) -> Any:
        count, dim = rows.shape_expr[0], rows.shape_expr[1]
        if rows.shape[1] % _MULTIPLE:
            raise UsageError(
                f"embeddings of length {rows.shape[1]} to quantise",
                expected=f"a multiple of {_MULTIPLE}, for plugins",
                fix="fill rows up with zeros, or build the engine without plugins",
            )
        block = _WIDE if rows.shape[1] <= _WIDE else 4 * _WIDE
        name = f"normalise_quantise_{self._names[rows.dtype]}_{block}"
        kernel = self._kernels.get(name, inputs=1, outputs=2)
        return self._launch(kernel, count, {"dim": dim, "stride": dim})

    def _launch(self, kernel: PluginKernel, grid: Any, scalars: Mapping[str, Any]) -> Any:
        """What TensorRT wants to know of a launch; integers in the order of the kernel."""
        trtp = self._trtp
        if set(kernel.scalars) != set(scalars):
            raise InputError(
                f"{kernel.name} takes {', '.join(kernel.scalars)}",
                expected=", ".join(scalars),
                fix="compile with the crosscam that is installed here",
            )
        params = trtp.KernelLaunchParams()
        params.grid_x, params.block_x = grid, kernel.block_threads
        params.shared_mem = kernel.shared_bytes
        arguments = trtp.SymIntExprs(len(kernel.scalars))
        for place, name in enumerate(kernel.scalars):
            arguments[place] = trtp.SymInt32(scalars[name])
        return kernel.entry, kernel.ptx, params, arguments


def _register(
    trtp: Any, name: str, inputs: tuple[str, ...], outputs: tuple[Any, ...], *,
    describe: Callable[..., Any], types: str, implement: Callable[..., Any],
) -> None:  # fmt: skip
    """Register one operator, with functions of the signatures that TensorRT asks for.

    It reads names and types of parameters, and must find classes there: annotations of this module
    are strings.
    """
    plugin, tensor = f"crosscam::{name}", trtp.TensorDesc
    answer = tensor if len(outputs) == 1 else tuple[outputs]  # type: ignore[valid-type]
    of_inputs = dict.fromkeys(inputs, tensor)

    def autotune(*_: Any) -> Any:
        return [trtp.AutoTuneCombination(types, "LINEAR")]

    def implementation(*given: Any) -> Any:
        return implement(*given[: len(inputs)])

    text = tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]
    after = {"outputs": tuple[outputs]}  # type: ignore[valid-type]
    trtp.register(plugin)(_typed(describe, of_inputs, answer))
    trtp.autotune(plugin)(_typed(autotune, of_inputs | after, list[trtp.AutoTuneCombination]))
    last = {"tactic": int}
    trtp.aot_impl(plugin)(_typed(implementation, of_inputs | after | last, text))


def _typed(function: Callable[..., Any], parameters: Mapping[str, Any], answer: Any) -> Any:
    """A function that `inspect.signature` sees with these parameters."""
    from inspect import Parameter, Signature

    def typed(*given: Any, **named: Any) -> Any:
        bound = signature.bind(*given, **named)
        return function(*bound.arguments.values())

    kind = Parameter.POSITIONAL_OR_KEYWORD
    signature = Signature(
        [Parameter(name, kind, annotation=each) for name, each in parameters.items()],
        return_annotation=answer,
    )
    typed.__signature__ = signature  # type: ignore[attr-defined]
    typed.__annotations__ = dict(parameters) | {"return": answer}
    return typed
