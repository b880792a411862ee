"""`update_memory` and `update_instances` on a GPU: one launch, one program per sample.

The first sample of each label does the work for all of them, in the order of the batch; the
programs of the others end at once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosscam_kernels.aot import KernelSpec

_SCAN = 256  # targets looked at in one step
_MODES = {"momentum": 0, "hardest": 1, "mean": 2}
_HARDEST = tl.constexpr(1)
_MEAN = tl.constexpr(2)
_LEAST_NORM = tl.constexpr(1e-12)


@triton.jit
def next_with_label(targets_ptr, label, after, count, SCAN: tl.constexpr):  # noqa: N803
    """First sample beyond `after` that has the label; `count` when there is none."""
    found = tl.zeros((), tl.int32) + count
    start = tl.zeros((), tl.int32) + after + 1
    while (start < count) & (found == count):
        sample = start + tl.arange(0, SCAN)
        target = tl.load(targets_ptr + sample, mask=sample < count, other=-1)
        found = tl.min(tl.where(target == label, sample, count), axis=0)
        start += SCAN
    return found


@triton.jit
def step(row, x, keep, take):
    """One step of the row towards x, rounded as the loop in float32 rounds; norm in float64."""
    row = keep * row + take * x
    wide = row.to(tl.float64)
    norm = tl.sqrt(tl.sum(wide * wide, axis=0)).to(tl.float32)
    norm = tl.where(norm < _LEAST_NORM, _LEAST_NORM, norm)
    return tl.div_rn(row, norm + tl.zeros_like(row))


@triton.jit
def update_kernel(
    bank_ptr,  # (K, D) in and out
    features_ptr,  # (N, D)
    targets_ptr,  # (N,) int64
    rows,  # K
    count,  # N
    dim,
    stride,  # elements between rows of the bank
    keep,  # fp32 momentum
    take,  # fp32 1 - momentum
    MODE: tl.constexpr,  # noqa: N803
    SCAN: tl.constexpr,  # noqa: N803
    WIDTH: tl.constexpr,  # noqa: N803  # power of two of at least D
):
    """All samples of one label."""
    first = tl.program_id(0)
    label = tl.load(targets_ptr + first)
    leader = next_with_label(targets_ptr, label, -1, count, SCAN)
    if (label >= 0) & (label < rows) & (leader == first):
        feature = tl.arange(0, WIDTH)
        used = feature < dim
        row_ptr = bank_ptr + label * stride + feature
        row = tl.load(row_ptr, mask=used, other=0.0).to(tl.float32)
        member = first
        if MODE == _HARDEST:
            least = tl.full((), float("inf"), tl.float64)
            hardest = tl.full((), -1, tl.int32)
            while member < count:
                at = member.to(tl.int64) * dim + feature
                x = tl.load(features_ptr + at, mask=used, other=0.0)
                similarity = tl.sum(row.to(tl.float64) * x.to(tl.float64), axis=0)
                harder = similarity < least
                least = tl.where(harder, similarity, least)
                hardest = tl.where(harder, member, hardest)
                member = next_with_label(targets_ptr, label, member, count, SCAN)
            if hardest >= 0:
                at = hardest.to(tl.int64) * dim + feature
                x = tl.load(features_ptr + at, mask=used, other=0.0)
                row = step(row, x.to(tl.float32), keep, take)
        elif MODE == _MEAN:
            total = tl.zeros((WIDTH,), tl.float64)
            members = tl.zeros((), tl.float64)
            while member < count:
                at = member.to(tl.int64) * dim + feature
                total += tl.load(features_ptr + at, mask=used, other=0.0).to(tl.float64)
                members += 1.0
                member = next_with_label(targets_ptr, label, member, count, SCAN)
            row = step(row, (total / members).to(tl.float32), keep, take)
        else:
            while member < count:
                at = member.to(tl.int64) * dim + feature
                x = tl.load(features_ptr + at, mask=used, other=0.0)
                row = step(row, x.to(tl.float32), keep, take)
                member = next_with_label(targets_ptr, label, member, count, SCAN)
        tl.store(row_ptr, row.to(bank_ptr.dtype.element_ty), mask=used)


@triton.jit
def replace_kernel(
    bank_ptr,  # (C, S, D) out
    filled_ptr,  # (C, S) int8 out
    features_ptr,  # (N, D)
    targets_ptr,  # (N,) int64
    slots_ptr,  # out (N,) int64
    classes,
    slots,
    count,
    dim,
    SCAN: tl.constexpr,  # noqa: N803
    WIDTH: tl.constexpr,  # noqa: N803
):
    """Counts the samples of the same class before this one and in all, and takes its slot."""
    sample = tl.program_id(0).to(tl.int64)
    label = tl.load(targets_ptr + sample)
    before = tl.zeros((), tl.int64)
    members = tl.zeros((), tl.int64)
    for start in range(0, count, SCAN):
        other = (start + tl.arange(0, SCAN)).to(tl.int64)
        target = tl.load(targets_ptr + other, mask=other < count, other=-1)
        same = target == label
        members += tl.sum(same.to(tl.int64), axis=0)
        before += tl.sum((same & (other < sample)).to(tl.int64), axis=0)
    stored = (label >= 0) & (label < classes) & (slots > 0)
    slot = tl.where(stored, before % tl.maximum(slots, 1), -1)
    tl.store(slots_ptr + sample, slot)
    if stored & (before >= members - slots):  # no later sample takes the same slot
        place = label * slots + slot
        for start in range(0, dim, WIDTH):
            feature = start + tl.arange(0, WIDTH)
            x = tl.load(features_ptr + sample * dim + feature, mask=feature < dim)
            tl.store(bank_ptr + place * dim + feature, x, mask=feature < dim)
        tl.store(filled_ptr + place, 1)


def update_memory(
    bank: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str
) -> None:
    """Launches the update; `bank` changes in place."""
    (rows, dim), count = bank.shape, features.shape[0]
    if count == 0 or rows == 0:
        return
    target = bank if bank.stride(1) == 1 else bank.contiguous()
    width = triton.next_power_of_2(dim)
    with torch.cuda.device_of(bank):
        update_kernel[(count,)](
            target,
            features.contiguous(),
            targets,
            rows,
            count,
            dim,
            target.stride(0),
            float(momentum),
            float(1.0 - momentum),
            MODE=_MODES[mode],
            SCAN=_SCAN,
            WIDTH=width,
            num_warps=warps_of(width),
            enable_fp_fusion=False,  # two roundings, as the loop it replaces
        )
    if target is not bank:
        bank.copy_(target)


def update_instances(bank: Tensor, filled: Tensor, features: Tensor, targets: Tensor) -> Tensor:
    """Launches the replacement; `bank` and `filled` change in place. Returns the (N,) slots."""
    classes, slots, dim = bank.shape
    taken = torch.empty_like(targets)
    if len(targets) == 0:
        return taken
    rows, mask = bank.contiguous(), filled.contiguous()
    width = min(1024, triton.next_power_of_2(dim))
    with torch.cuda.device_of(bank):
        replace_kernel[(len(targets),)](
            rows,
            mask.view(torch.int8),
            features.contiguous(),
            targets,
            taken,
            classes,
            slots,
            len(targets),
            dim,
            SCAN=_SCAN,
            WIDTH=width,
            num_warps=4,
            enable_fp_fusion=False,
        )
    if rows is not bank:
        bank.copy_(rows)
    if mask is not filled:
        filled.copy_(mask)
    return taken


def warps_of(width: int) -> int:
    """Eight features for each thread."""
    return max(1, min(16, width // 256))


AOT_KERNELS = [
    KernelSpec(
        f"update_memory_{mode}_{name}_2048",
        update_kernel,
        {
            "bank_ptr": f"*{name}:16",
            "features_ptr": f"*{name}:16",
            "targets_ptr": "*i64:16",
            **{"rows": "i32", "count": "i32", "dim": "i32:16", "stride": "i32:16"},
            **{"keep": "fp32", "take": "fp32"},
        },
        {"MODE": number, "SCAN": _SCAN, "WIDTH": 2048},
        num_warps=warps_of(2048),
        enable_fp_fusion=False,
    )
    for name in ("fp32", "bf16")
    for mode, number in _MODES.items()
]
AOT_KERNELS += [
    KernelSpec(
        f"update_instances_{name}",
        replace_kernel,
        {
            "bank_ptr": f"*{name}:16",
            "filled_ptr": "*i8:16",
            "features_ptr": f"*{name}:16",
            **{"targets_ptr": "*i64:16", "slots_ptr": "*i64:16"},
            **{"classes": "i32", "slots": "i32", "count": "i32", "dim": "i32:16"},
        },
        {"SCAN": _SCAN, "WIDTH": 1024},
        enable_fp_fusion=False,
    )
    for name in ("fp32", "bf16")
]
