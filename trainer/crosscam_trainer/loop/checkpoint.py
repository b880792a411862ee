"""Checkpoints: safetensors and JSON, whole or not at all.

A checkpoint is a folder ``checkpoints/<number>`` with ``tensors.safetensors`` and ``state.json``.
It is written beside its place, brought to the disk, and renamed, so a kill or a power cut leaves
the one before. The JSON holds the hash of the tensors, which tells damage from age.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

FORMAT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"
KEPT = 2
"""The newest, and the one before in case that is damaged."""


class _DamagedError(InputError):
    """A checkpoint is not what was written."""


class Checkpoint(NamedTuple):
    """What was saved.

    Attributes:
        number: Counts the checkpoints of a run.
        tensors: By name, on the CPU.
        state: JSON values.
    """

    number: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, then delete all but the newest `KEPT`.

    Args:
        folder: ``checkpoints`` of the run; made if needed.
        checkpoint: Its number must be new.

    Returns:
        Where it is.

    Raises:
        RunError: The disk is full, or cannot be written to; the ones before are untouched.
    """
    target = folder / f"{checkpoint.number:08d}"
    part = folder / f"{target.name}.part"
    with writing(target):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            data = save(_plain(checkpoint.tensors))
            state = {"format": FORMAT, "tensors": _digest(data), **checkpoint.state}
            _write(part / TENSORS, data)
            _write(part / STATE, json.dumps(state, indent=1).encode())
            _sync_folder(part)
            part.rename(target)
            _sync_folder(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    for old in sorted(numbers(folder))[:-KEPT]:
        shutil.rmtree(folder / f"{old:08d}", ignore_errors=True)
    return target


def read_newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; None when there are none.

    Args:
        folder: ``checkpoints`` of the run.
        warn: Told about each damaged one, which is then deleted.

    Raises:
        InputError: There are some, and all are damaged, or one is of another format.
    """
    found = sorted(numbers(folder), reverse=True)
    damaged: list[tuple[int, _DamagedError]] = []
    for number in found:
        try:
            checkpoint = read_checkpoint(folder / f"{number:08d}")
        except _DamagedError as error:
            damaged.append((number, error))
            continue
        for bad, reason in damaged:
            warn(f"{reason.found}; going on from checkpoint {number}, the one before")
            shutil.rmtree(folder / f"{bad:08d}", ignore_errors=True)
        return checkpoint
    if damaged:
        raise InputError(
            f"all checkpoints in {folder} are damaged: {damaged[0][1].found}",
            fix="look at the disk, then start the run anew in another folder",
        )
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one.

    Raises:
        InputError: It is not whole, or of another format.
    """
    try:
        state = json.loads((path / STATE).read_bytes())
        data = (path / TENSORS).read_bytes()
        if state["format"] != FORMAT:
            raise InputError(
                f"checkpoint {path} has format {state['format']}",
                expected=str(FORMAT),
                fix="resume with the version of crosscam that wrote it",
            )
        if _digest(data) != state["tensors"]:
            raise ValueError(f"{TENSORS} is not what was written")
        return Checkpoint(int(path.name), load(data), state)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _DamagedError(f"checkpoint {path} is damaged ({error})") from error


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the checkpoints in a folder, in no order."""
    if not folder.is_dir():
        return []
    return [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()]


def write_weights(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write a model's weights, with JSON about them in the header, in one step.

    Raises:
        RunError: The disk is full, or cannot be written to; what was there before is untouched.
    """
    part = path.with_suffix(".part")
    with writing(path):
        try:
            _write(part, save(_plain(tensors), {"crosscam": json.dumps(about)}))
            part.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_weights` wrote.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["crosscam"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error})", expected="weights of a run") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the disk into ones that say what to do.

    Raises:
        RunError: For an `OSError` inside.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise RunError(
            f"{path} cannot be written: {'no space is left' if full else error.strerror or error}",
            fix=f"{'free some space' if full else 'look at the disk'}, then go on with --resume",
        ) from error


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that share no memory, as safetensors wants them."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return  # folders cannot be opened elsewhere
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
