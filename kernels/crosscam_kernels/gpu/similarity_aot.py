"""The kernels of `similarity_topk` for ahead-of-time compilation, with the tiles of the table.

Kernels named ``.._plugin_..`` take what a TensorRT plugin can pass: no 64-bit scalars, no times,
at most 48 KiB of shared memory. A search is then two of them: ``similarity_stream_plugin_*``
writes keys (Q, splits, K) and ``similarity_merge_*`` sorts them out.
"""

from __future__ import annotations

from collections.abc import Mapping

from crosscam_kernels.aot.spec import Constant, KernelSpec
from crosscam_kernels.gpu.quantise import quantise_rows_kernel
from crosscam_kernels.gpu.similarity_groups import (
    RESCORE_FEATURES,
    RESCORE_ROWS,
    SELECT_COLUMNS,
    SELECT_ROWS,
    group_max_kernel,
    rescore_kernel,
    select_kernel,
)
from crosscam_kernels.gpu.similarity_stream import MERGE_BLOCK, merge_kernel, stream_kernel
from crosscam_kernels.gpu.similarity_table import GROUPS, GROUPS_BLACKWELL_HEAVY, STREAM, Tile

SIZES = {"i8": 1, "fp16": 2, "bf16": 2, "fp32": 4}
MASKS = {
    "valid": "*u8:16",
    "query_camera": "*i32:16",
    "gallery_camera": "*i32:16",
    "adjacency": "*i32:16",
    "query_time": "*i64:16",
    "gallery_time": "*i64:16",
}
COUNTS = {
    "query_count": "i32",
    "gallery_count": "i64",
    "dim": "i32:16",
    "query_stride": "i32:16",
    "gallery_stride": "i32:16",
    "camera_rows": "i32",
    "camera_words": "i32",
    "window_low": "i64",
    "window_high": "i64",
    "unbounded": "i32",
}
LITTLE = ("sm_86", "sm_89", "sm_120")
LARGE = ("sm_80", "sm_87", "sm_90", "sm_100", "sm_110")
BLACKWELL = ("sm_100", "sm_110")
OTHERS = ("sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_120")


def operands(dtype: str) -> tuple[dict[str, str], dict[str, Constant]]:
    """Pointers of queries, gallery and scales; what is absent is a constant."""
    pointers = {"queries": f"*{dtype}:16", "gallery": f"*{dtype}:16"}
    if dtype == "i8":
        return {**pointers, "query_scale": "*fp32:16", "gallery_scale": "*fp32:16"}, {}
    return pointers, {"query_scale": None, "gallery_scale": None}


def masks(names: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Constant]]:
    """Pointers of the masks in `names`; the others are constants."""
    given = {name: MASKS[name] for name in names}
    return given, {name: None for name in MASKS if name not in given}


def product_spec(
    name: str, kernel: str, dtype: str, tile: Tile, of_masks: tuple[str, ...], *,
    constants: Mapping[str, Constant], extra: Mapping[str, str],
    architectures: tuple[str, ...] = (), plugin: bool = False,
) -> KernelSpec:  # fmt: skip
    """A kernel that multiplies tiles; D and the strides are multiples of 16 and of the step."""
    pointers, absent = operands(dtype)
    mask_pointers, mask_absent = masks(of_masks)
    scalars = {n: "i32" if t == "i64" and plugin else t for n, t in {**COUNTS, **extra}.items()}
    return KernelSpec(
        name=name,
        fn={"stream": stream_kernel, "groups": group_max_kernel}[kernel],
        signature={**pointers, **mask_pointers, **scalars},
        constexprs={
            **absent,
            **mask_absent,
            "RULE": 1 if "query_camera" in of_masks else 0,
            "BM": tile.bm,
            "BN": tile.bn,
            "BD": tile.bd,
            "EVEN_D": True,
            **constants,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
        plugin=plugin,
        architectures=architectures,
    )


def stream_spec(
    dtype: str, tile: Tile, k: int, *, masked: bool, share: bool, plugin: bool = False,
    architectures: tuple[str, ...] = (),
) -> KernelSpec:  # fmt: skip
    """`stream_kernel` for lists of k."""
    extra = {"query_blocks": "i32", "splits": "i32", "rows_per_split": "i64", "keys": "*i64:16"}
    constants: dict[str, Constant] = {"K": k, "SLOTS": k}
    if share:
        extra["shared_kth"] = "*i64:16"
    else:
        constants["shared_kth"] = None
    of_masks = ("valid", "query_camera", "gallery_camera") if plugin else tuple(MASKS)
    words = ("plugin" if plugin else "", "masked" if masked else "")
    suffix = "".join(f"_{word}" for word in words if word)
    return product_spec(
        f"similarity_stream{suffix}_{dtype}_{tile.bm}_k{k}",
        "stream",
        dtype,
        tile,
        of_masks if masked else (),
        constants=constants,
        extra=extra,
        architectures=architectures,
        plugin=plugin,
    )


def groups_spec(
    name: str, dtype: str, tile: Tile, *, masked: bool, architectures: tuple[str, ...]
) -> KernelSpec:
    """`group_max_kernel` with groups of 16."""
    return product_spec(
        f"similarity_groups{'_masked' if masked else ''}_{dtype}_{name}",
        "groups",
        dtype,
        tile,
        tuple(MASKS) if masked else (),
        constants={"L": 16},
        extra={"query_blocks": "i32", "groups": "i64", "maxima": "*fp32:16"},
        architectures=architectures,
    )


def stream_specs() -> list[KernelSpec]:
    """Every tile of the table with all masks and the longest lists it is used for."""
    specs = []
    for dtype, size in SIZES.items():
        for most, tile in STREAM[size]:
            # The table gives long lists of many queries a smaller tile on Blackwell.
            only = OTHERS if most > 32 else ()
            specs.append(stream_spec(dtype, tile, 64, masked=True, share=True, architectures=only))
        first = STREAM[size][0][1]
        specs.append(stream_spec(dtype, first, 16, masked=False, share=False, plugin=True))
        specs.append(stream_spec(dtype, first, 16, masked=True, share=False, plugin=True))
    return specs


def merge_spec(k: int) -> KernelSpec:
    """`merge_kernel`, last round."""
    return KernelSpec(
        name=f"similarity_merge_k{k}",
        fn=merge_kernel,
        signature={
            "keys": "*i64:16",
            "count": "i32",
            "nodes": "i32",
            "similarity": "*fp32:16",
            "index": "*i64:16",
        },
        constexprs={"merged": None, "K": k, "SLOTS": k, "BLOCK": MERGE_BLOCK},
        plugin=True,
    )


def rescore_spec(dtype: str, group: int) -> KernelSpec:
    """`rescore_kernel` with all masks."""
    pointers, absent = operands(dtype)
    return KernelSpec(
        name=f"similarity_rescore_{dtype}_{group}",
        fn=rescore_kernel,
        signature={
            **pointers,
            **MASKS,
            "picked": "*i64:16",
            **COUNTS,
            "picks": "i32",
            "blocks": "i32",
            "keys": "*i64:16",
        },
        constexprs={
            **absent,
            "RULE": 1,
            "L": group,
            "BN": RESCORE_ROWS,
            "BD": RESCORE_FEATURES,
        },
        num_stages=2,
    )


AOT_KERNELS = [
    *stream_specs(),
    *(
        groups_spec("128x128", dtype, GROUPS[SIZES[dtype]][0], masked=masked, architectures=LITTLE)
        for dtype in ("i8", "fp16", "bf16", "fp32")
        for masked in (False, True)
    ),
    *(
        groups_spec("large", dtype, GROUPS[SIZES[dtype]][1], masked=False, architectures=LARGE)
        for dtype in ("i8", "fp16", "bf16")
    ),
    *(
        groups_spec(
            "large",
            dtype,
            GROUPS[SIZES[dtype]][2],
            masked=True,
            architectures=("sm_80", "sm_87", "sm_90"),
        )
        for dtype in ("i8", "fp16", "bf16")
    ),
    *(
        groups_spec(
            "blackwell",
            dtype,
            GROUPS_BLACKWELL_HEAVY[SIZES[dtype]],
            masked=True,
            architectures=BLACKWELL,
        )
        for dtype in ("i8", "fp16", "bf16")
    ),
    merge_spec(16),
    merge_spec(64),
    *(rescore_spec(dtype, group) for dtype in ("fp16", "bf16", "fp32") for group in (1, 16)),
    KernelSpec(
        name="similarity_select_k64",
        fn=select_kernel,
        signature={
            "values": "*fp32:16",
            "query_count": "i32",
            "count": "i64",
            "splits": "i32",
            "columns_per_split": "i64",
            "keys": "*i64:16",
        },
        constexprs={"K": 64, "SLOTS": 64, "BM": SELECT_ROWS, "BN": SELECT_COLUMNS},
        num_stages=2,
    ),
    KernelSpec(
        name="quantise_rows_fp32_1024",
        fn=quantise_rows_kernel,
        signature={
            "rows": "*fp32:16",
            "values": "*i8:16",
            "scales": "*fp32:16",
            "dim": "i32:16",
            "stride": "i32:16",
        },
        constexprs={"BLOCK": 1024},
        enable_fp_fusion=False,
    ),
]
