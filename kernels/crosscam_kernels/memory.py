"""InfoNCE against a memory bank that no gradient reaches, and the update of that bank."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, feature_rows, integer_column, worker_limit
from crosscam_kernels._losses import (
    LossAndGradient,
    Reduction,
    check_reduction,
    check_temperature,
    reduced,
    sample_weight,
)
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.simd import simd_level
from crosscam_kernels.similarity import CAMERA_RULES, CameraRule

UpdateMode = Literal["momentum", "hardest", "mean"]
UPDATE_MODES: tuple[UpdateMode, ...] = ("momentum", "hardest", "mean")


def memory_infonce(
    features: Any,
    bank: Any,
    targets: Any,
    *,
    labels: Any | None = None,
    cameras: Any | None = None,
    bank_cameras: Any | None = None,
    candidates: CameraRule = "any",
    positives: CameraRule = "any",
    hard_negatives: int | None = None,
    temperature: float = 0.05,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    threads: int | None = None,
) -> Any:
    """Contrasts each sample with the rows of a memory bank.

    With ``s_ij = <x_i, c_j> / temperature`` and e the label smoothing::

        L_i = log sum_{j in A_i} exp(s_ij) - (1 - e) mean_{j in P_i} s_ij - e mean_{j in A_i} s_ij

    Candidates of sample i are the rows that the rule `candidates` allows. P_i are those with the
    sample's label that the rule `positives` allows as well; A_i are P_i and the candidates of
    other labels (all of them, or the `hard_negatives` most similar; ties go to the smaller row).
    Rows of the sample's label that are no positives are left out.

    ======================================  =====================================================
    loss                                    arguments
    ======================================  =====================================================
    Cluster Contrast; CCAFL Eq. 14          none: row j is cluster j
    CAP and CCAFL Eq. 7, intra-camera       ``candidates="only_same"``, rows are (camera, person)
    CAP, inter-camera                       `labels` per row, ``hard_negatives=50``
    the same, other cameras only            ``positives="exclude_same"``
    ======================================  =====================================================

    Specification: `crosscam_kernels.reference.memory`. No (N, K) matrix is kept: on the CPU the
    gradient comes with the loss, on a GPU the backward pass computes the similarities anew. Sums
    are float32 (float64 tensors: float64). Two runs give the same bits, on the CPU for any number
    of threads and any instruction set.

    Args:
        features: (N, D) float32, L2-normalised by contract; as tensor also float16, bfloat16 or
            float64.
        bank: (K, D) likewise; of the type of `features`. No gradient is computed for it.
        targets: (N,) integer label of each sample; negative: unlabelled, takes no part.
        labels: (K,) integer label of each row; negative: row not in use. None: row j has label j.
        cameras: (N,) integer camera of each sample.
        bank_cameras: (K,) integer camera of each row.
        candidates: Which rows take part: ``"any"``, ``"only_same"`` or ``"exclude_same"`` camera.
        positives: The same rule for positives, on top of `candidates`.
        hard_negatives: Number of negatives kept, >= 0; None keeps all.
        temperature: Divides the similarities, > 0.
        label_smoothing: In [0, 1); the share of the target spread evenly over A_i.
        reduction: ``"mean"`` over the samples that have a positive (0 when none has), ``"sum"``,
            or ``"none"``: (N,) with 0 where a sample has no positive.
        threads: At most this many threads on the CPU; None for one per processor. Arrays only.

    Returns:
        `LossAndGradient` for arrays; for tensors the loss as a tensor that knows its gradient.
        A similarity that is NaN gives a loss that is NaN, except as a candidate for a hard
        negative, where it is never chosen.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Arguments that belong together are not given together, or a value is impossible.
        InputError: `labels` is None and a target is no row of the bank (tensors on a GPU are not
            looked at: such a sample takes no part).
    """
    check_options(
        cameras is not None,
        bank_cameras is not None,
        candidates,
        positives,
        hard_negatives,
        label_smoothing,
    )
    check_temperature(temperature)
    check_reduction(reduction)
    if is_tensor(features):
        from crosscam_kernels.torch_ops import memory as torch_memory

        return torch_memory.memory_infonce(
            features,
            bank,
            targets,
            labels,
            cameras,
            bank_cameras,
            candidates=candidates,
            positives=positives,
            hard_negatives=-1 if hard_negatives is None else int(hard_negatives),
            temperature=temperature,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
    problem = native_problem(
        features,
        bank,
        targets,
        labels,
        cameras,
        bank_cameras,
        candidates=candidates,
        positives=positives,
        hard_negatives=-1 if hard_negatives is None else int(hard_negatives),
        temperature=temperature,
        label_smoothing=label_smoothing,
        threads=threads,
    )
    losses, found = native_losses(problem, with_gradient=True)
    weight = sample_weight(found["positive_count"] > 0, reduction)
    gradient = np.where(weight[:, None] == 0, np.float32(0), weight[:, None] * found["gradient"])
    return LossAndGradient(reduced(losses, weight, reduction), gradient)


def update_memory(
    bank: Any,
    features: Any,
    targets: Any,
    momentum: float = 0.1,
    mode: UpdateMode = "momentum",
    *,
    threads: int | None = None,
) -> None:
    """Moves rows of a bank towards the samples of a batch, in place and in one launch.

    A step towards x is ``row = momentum * row + (1 - momentum) * x; row = row / |row|``, in float32
    with the norm summed in float64. The result has the bits of the loop over the batch
    (`crosscam_kernels.reference.memory.update_memory`).

    Args:
        bank: (K, D) float32 array or tensor, rows L2-normalised; tensors may also be float16 or
            bfloat16 (a row is then rounded once, after its last step).
        features: (N, D) of the same type.
        targets: (N,) integer row of each sample; negative: takes no part.
        momentum: Share of the old row that is kept, in [0, 1].
        mode: ``"momentum"``: one step towards each sample, in the order of the batch (Cluster
            Contrast, CAP). ``"hardest"``: one step towards the sample that is least similar to the
            row as it was; ties go to the earlier sample; a similarity that is NaN is not chosen
            (Cluster Contrast's hard update, CCAFL's stage 3). ``"mean"``: one step towards the
            mean of the row's samples (CCAFL Eq. 6 and 13).
        threads: At most this many threads on the CPU; None for one per processor. Arrays only.

    Raises:
        ShapeError: An array has the wrong shape or dtype, or cannot be written.
        UsageError: Momentum or mode is impossible.
        InputError: A target is no row of the bank (tensors on a GPU are not looked at: such a
            sample takes no part).
    """
    if not 0.0 <= momentum <= 1.0:
        raise UsageError(f"momentum={momentum}", expected="a number from 0 to 1")
    if mode not in UPDATE_MODES:
        raise UsageError(f"mode={mode!r}", expected="one of " + ", ".join(UPDATE_MODES))
    if is_tensor(bank):
        from crosscam_kernels.torch_ops import memory as torch_memory

        torch_memory.update_memory(bank, features, targets, momentum, mode)
        return
    native_update(writable_rows(bank), features, targets, momentum, mode, threads)


def check_options(
    has_cameras: bool,
    has_bank_cameras: bool,
    candidates: str,
    positives: str,
    hard_negatives: int | None,
    label_smoothing: float,
) -> None:
    """Checks what does not look into the arrays.

    Raises:
        UsageError: Arguments that belong together are not given together, or a value is impossible.
    """
    for name, rule in (("candidates", candidates), ("positives", positives)):
        if rule not in CAMERA_RULES:
            raise UsageError(f"{name}={rule!r}", expected="one of " + ", ".join(CAMERA_RULES))
        if rule != "any" and not (has_cameras and has_bank_cameras):
            raise UsageError(
                f"{name}={rule!r} is given without cameras",
                fix="pass cameras and bank_cameras as well",
            )
    if has_cameras != has_bank_cameras:
        raise UsageError(
            "only one of cameras and bank_cameras is given", fix="pass both or neither"
        )
    if hard_negatives is not None and hard_negatives < 0:
        raise UsageError(f"hard_negatives={hard_negatives}", expected="at least 0, or None for all")
    if not 0.0 <= label_smoothing < 1.0:
        raise UsageError(f"label_smoothing={label_smoothing}", expected="a number in [0, 1)")


def native_problem(
    features: Any,
    bank: Any,
    targets: Any,
    labels: Any | None,
    cameras: Any | None,
    bank_cameras: Any | None,
    *,
    threads: int | None,
    **options: Any,
) -> dict[str, Any]:
    """Checks the arrays and brings them to the types of the native function."""
    x, rows = feature_rows(features, "features", "N"), feature_rows(bank, "bank", "K")
    check_widths(x, rows)
    target = integer_column(targets, "targets", len(x), np.int64)
    if labels is None:
        check_targets(target, len(rows))
    return {
        "features": x,
        "bank": rows,
        "targets": target,
        "labels": None if labels is None else integer_column(labels, "labels", len(rows), np.int64),
        "cameras": None
        if cameras is None
        else integer_column(cameras, "cameras", len(x), np.int32),
        "bank_cameras": None
        if bank_cameras is None
        else integer_column(bank_cameras, "bank_cameras", len(rows), np.int32),
        **options,
        "threads": worker_limit(threads),
        "simd": simd_level(),
    }


def native_losses(
    problem: dict[str, Any], with_gradient: bool
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Returns the (N,) losses and what else the operator finds.

    ``gradient`` among the latter is (N, D): of each loss with respect to its own sample; None when
    it is not asked for.
    """
    count = len(problem["features"])
    losses = np.empty(count, np.float32)
    found: dict[str, Any] = {
        "lse": np.empty(count, np.float32),
        "positive_count": np.empty(count, np.int64),
        "allowed_count": np.empty(count, np.int64),
        "negatives": np.empty((count, max(0, problem["hard_negatives"])), np.int64),
        "gradient": np.empty(problem["features"].shape, np.float32) if with_gradient else None,
    }
    _native.memory_infonce(**problem, **found, loss=losses)
    return losses, found


def native_update(
    bank: NDArray[np.float32],
    features: Any,
    targets: Any,
    momentum: float,
    mode: str,
    threads: int | None,
) -> None:
    """Checks the samples and updates the rows in place."""
    x = feature_rows(features, "features", "N")
    check_widths(x, bank)
    target = integer_column(targets, "targets", len(x), np.int64)
    check_targets(target, len(bank))
    _native.update_memory(
        bank=bank,
        features=x,
        targets=target,
        momentum=float(momentum),
        mode=mode,
        threads=worker_limit(threads),
        simd=simd_level(),
    )


def writable_rows(bank: Any) -> NDArray[np.float32]:
    """Checks that `bank` can be changed in place; elements of a row must be dense.

    Raises:
        ShapeError: It cannot.
    """
    array = as_numpy(bank, "bank")
    if array.ndim != 2 or array.dtype != np.float32:
        raise ShapeError(
            f"bank is {array.dtype} of shape {array.shape}", expected="float32 of shape (K, D)"
        )
    if not array.flags.writeable or (array.size and array.strides[1] != 4):
        raise ShapeError(
            f"bank with strides {array.strides} cannot be updated in place",
            expected="a writable array whose rows are dense",
            fix="keep the bank in an array of its own",
        )
    return cast("NDArray[np.float32]", array)


def check_widths(features: NDArray[Any], bank: NDArray[Any]) -> None:
    """Checks that samples and bank have the same number of features.

    Raises:
        ShapeError: They differ or are zero.
    """
    if features.shape[1] != bank.shape[-1] or features.shape[1] == 0:
        raise ShapeError(
            f"features have {features.shape[1]} columns and the bank {bank.shape[-1]}",
            expected="the same number, at least 1",
        )


def check_targets(targets: NDArray[np.int64], count: int) -> None:
    """Checks that targets are rows of the bank.

    Raises:
        InputError: One is not.
    """
    if targets.size and int(targets.max()) >= count:
        raise InputError(
            f"targets hold {int(targets.max())} and the bank has {count} rows",
            expected="targets below the number of rows, or negative for samples without a label",
        )
