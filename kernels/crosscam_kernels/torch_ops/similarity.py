"""`similarity_topk` as ``crosscam::similarity_topk``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crosscam_kernels import similarity as on_arrays
from crosscam_kernels.errors import ShapeError, UsageError

FEATURES = (torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)


@torch.library.custom_op("crosscam::similarity_topk", mutates_args=(), device_types="cpu")
def similarity_topk(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    scale: Tensor | None,
    rescore: Tensor | None,
    valid: Tensor | None,
    query_camera: Tensor | None,
    gallery_camera: Tensor | None,
    camera_rule: str,
    adjacency: Tensor | None,
    query_time: Tensor | None,
    gallery_time: Tensor | None,
    window_low: int | None,
    window_high: int | None,
    threads: int | None,
) -> tuple[Tensor, Tensor]:
    """Similarity (Q, k) float32 and index (Q, k) int64, by the C++ implementation."""
    optional = {
        "scale": scale,
        "rescore": rescore,
        "valid": valid,
        "query_camera": query_camera,
        "gallery_camera": gallery_camera,
        "adjacency": adjacency,
        "query_time": query_time,
        "gallery_time": gallery_time,
    }
    given: dict[str, Any] = {n: shared_array(t) for n, t in optional.items() if t is not None}
    if query_time is not None:
        given["window"] = (window_low, window_high)
    best = on_arrays.similarity_topk(
        shared_array(queries),
        shared_array(gallery),
        k,
        camera_rule=camera_rule,  # type: ignore[arg-type]  # checked there
        threads=torch.get_num_threads() if threads is None else threads,
        **given,
    )
    return torch.from_numpy(best.similarity), torch.from_numpy(best.index)


@similarity_topk.register_kernel("cuda")
def _(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    scale: Tensor | None,
    rescore: Tensor | None,
    valid: Tensor | None,
    query_camera: Tensor | None,
    gallery_camera: Tensor | None,
    camera_rule: str,
    adjacency: Tensor | None,
    query_time: Tensor | None,
    gallery_time: Tensor | None,
    window_low: int | None,
    window_high: int | None,
    threads: int | None,
) -> tuple[Tensor, Tensor]:
    from crosscam_kernels.gpu import similarity as gpu

    del threads  # of the CPU
    return gpu.similarity_topk(
        queries,
        gallery,
        k,
        scale=scale,
        rescore=rescore,
        valid=valid,
        query_camera=query_camera,
        gallery_camera=gallery_camera,
        camera_rule=camera_rule,
        adjacency=adjacency,
        query_time=query_time,
        gallery_time=gallery_time,
        window=(window_low, window_high),
    )


@similarity_topk.register_fake
def _(queries: Tensor, gallery: Tensor, k: int, *_: Any) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], k)
    return (
        torch.empty(shape, dtype=torch.float32, device=queries.device),
        torch.empty(shape, dtype=torch.int64, device=queries.device),
    )


def _set_not_differentiable(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
) -> None:
    del inputs
    ctx.mark_non_differentiable(*output)


def _no_gradient(ctx: Any, *grads: Any) -> Any:
    raise UsageError(
        "similarity_topk has no gradient",
        fix="multiply the rows it found: (queries[:, None] * gallery[index]).sum(-1)",
    )


similarity_topk.register_autograd(_no_gradient, setup_context=_set_not_differentiable)


def shared_array(tensor: Tensor) -> NDArray[Any]:
    """The memory of a tensor on the CPU as an array; bfloat16 as its bit patterns in uint16."""
    held = tensor.detach()
    if held.dtype == torch.bfloat16:
        held = held.view(torch.uint16)
    array: NDArray[Any] = held.numpy()
    return array


def checked_similarity_topk(
    queries: Tensor,
    gallery: Any,
    k: int,
    *,
    scale: Any,
    rescore: Any,
    valid: Any,
    query_camera: Any,
    gallery_camera: Any,
    camera_rule: str,
    adjacency: Any,
    query_time: Any,
    gallery_time: Any,
    window: tuple[int | None, int | None] | None,
    threads: int | None,
) -> tuple[Tensor, Tensor]:
    """The op after those checks of the public function that need not look at the data.

    Raises:
        ShapeError: A tensor has the wrong shape, dtype or device.
        UsageError: Arguments that belong together are not given together, or a value is impossible.
    """
    q = features(queries, "queries", "Q", queries)
    g = features(gallery, "gallery", "G", queries, int8=True)
    on_arrays.check_call(q, g, k, camera_rule)
    scales, exact = _int8_parts(g, scale, rescore)
    cameras = _pair(query_camera, gallery_camera, "camera", q, g)
    times = _pair(query_time, gallery_time, "time", q, g)
    if cameras[0] is None and (camera_rule != "any" or adjacency is not None):
        raise UsageError(
            "camera_rule or adjacency is given without cameras",
            fix="pass query_camera and gallery_camera as well",
        )
    if (times[0] is None) != (window is None):
        raise UsageError(
            "times and window must be given together",
            fix="pass query_time, gallery_time and window, or none of them",
        )
    found: tuple[Tensor, Tensor] = similarity_topk(
        q,
        g,
        k,
        scales,
        exact,
        None if valid is None else column(valid, "valid", (torch.bool,), len(g), q),
        *cameras,
        camera_rule,
        None if adjacency is None else _adjacency(adjacency, q),
        *times,
        *((None, None) if window is None else on_arrays.checked_window(window)),
        threads,
    )
    return found


def features(value: Any, name: str, count: str, beside: Tensor, *, int8: bool = False) -> Tensor:
    """Checks a (count, D) tensor of features on the device of `beside`; detached."""
    types = (*FEATURES, torch.int8) if int8 else FEATURES
    if not isinstance(value, Tensor):
        raise ShapeError(
            f"{name} is {type(value).__name__} and queries is a tensor",
            expected="tensors on one device, or arrays",
            fix="torch.as_tensor(..., device=queries.device)",
        )
    if value.ndim != 2 or value.dtype not in types:
        raise ShapeError(
            f"{name} is {_dtype(value)} of shape {tuple(value.shape)}",
            expected=f"{', '.join(_name(t) for t in types)} of shape ({count}, D)",
            fix="convert with .float() and keep one feature vector per row",
        )
    return _beside(value, name, beside).detach()


def column(
    value: Any, name: str, types: tuple[torch.dtype, ...], count: int, beside: Tensor
) -> Tensor:
    """Checks a (count,) tensor; arrays and sequences are brought to the device of `beside`."""
    tensor = value if isinstance(value, Tensor) else _from_host(value, name, beside)
    if tensor.shape != (count,) or tensor.dtype not in types:
        raise ShapeError(
            f"{name} is {_dtype(tensor)} of shape {tuple(tensor.shape)}",
            expected=f"{' or '.join(_name(t) for t in types)} of shape ({count},), one per row",
        )
    return _beside(tensor, name, beside)


def _pair(
    of_queries: Any, of_gallery: Any, kind: str, q: Tensor, g: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    if of_queries is None and of_gallery is None:
        return None, None
    if of_queries is None or of_gallery is None:
        raise UsageError(
            f"only one of query_{kind} and gallery_{kind} is given", fix="pass both or neither"
        )
    return (
        column(of_queries, f"query_{kind}", INTEGERS, len(q), q),
        column(of_gallery, f"gallery_{kind}", INTEGERS, len(g), q),
    )


def _int8_parts(gallery: Tensor, scale: Any, rescore: Any) -> tuple[Tensor | None, Tensor | None]:
    if gallery.dtype != torch.int8:
        if scale is not None or rescore is not None:
            raise UsageError(
                f"scale or rescore is given with a gallery of {_dtype(gallery)}",
                expected="them with an int8 gallery only",
            )
        return None, None
    if scale is None:
        raise UsageError("an int8 gallery is given without scale", fix="use quantise_rows")
    if gallery.shape[1] > on_arrays.MAX_INT8_DIM:
        raise ShapeError(
            f"the int8 gallery has {gallery.shape[1]} features",
            expected=f"at most {on_arrays.MAX_INT8_DIM}",
        )
    scales = column(scale, "scale", (torch.float32,), len(gallery), gallery)
    if rescore is None:
        return scales, None
    exact = features(rescore, "rescore", "G", gallery)
    if exact.shape != gallery.shape:
        raise ShapeError(
            f"rescore has shape {tuple(exact.shape)}",
            expected=f"{tuple(gallery.shape)}, as the gallery",
        )
    return scales, exact


def _adjacency(value: Any, beside: Tensor) -> Tensor:
    tensor = value if isinstance(value, Tensor) else _from_host(value, "adjacency", beside)
    if tensor.ndim != 2 or tensor.dtype not in (torch.bool, torch.uint64):
        raise ShapeError(
            f"adjacency is {_dtype(tensor)} of shape {tuple(tensor.shape)}",
            expected="bool of shape (query cameras, gallery cameras), or uint64 by pack_adjacency",
        )
    return _beside(tensor, "adjacency", beside)


def _from_host(value: Any, name: str, beside: Tensor) -> Tensor:
    try:
        return torch.as_tensor(np.asarray(value), device=beside.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{name} of type {type(value).__name__} is no tensor ({error})") from error


def _beside(tensor: Tensor, name: str, beside: Tensor) -> Tensor:
    if tensor.device != beside.device:
        raise ShapeError(
            f"{name} is on {tensor.device}",
            expected=f"all tensors on {beside.device}",
            fix=f"{name}.to({str(beside.device)!r})",
        )
    return tensor


def _dtype(tensor: Tensor) -> str:
    return _name(tensor.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
