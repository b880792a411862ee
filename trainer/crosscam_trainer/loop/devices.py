"""`World`: the processes of a run, their devices, and what they tell each other.

Lightning Fabric starts the processes and connects them (or finds those of `torchrun`). Modules are
not wrapped in `DistributedDataParallel`: methods take gradients of single parts, which it does not
support, so `optimise` averages gradients by `World.average`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from crosscam_kernels.errors import CrosscamError, RunError, UsageError
from crosscam_trainer.loop.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from crosscam_trainer.recipe import LoopRecipe

T = TypeVar("T")
_BUCKET = 16 * 1024 * 1024
"""Numbers that are averaged at a time: 64 MB of float32."""
_HALF = {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        device: Of this process.
        rank: Of this process.
        size: Number of processes.
        half: Type that towers compute in; None for float32.
    """

    device: Any
    rank: int = 0
    size: int = 1
    half: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def autocast(self, *, enabled: bool = True) -> Any:
        """Return a context in which matrix products run in `half`."""
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.half, enabled=enabled)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating-point tensors by their means over all processes, in place."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1).float() for tensor in bucket])
            distributed.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def average_buffers(self, module: nn.Module) -> None:
        """Average running statistics, which towers with batch norm gather from their own rows."""
        if self.size > 1:
            self.average([b for b in module.buffers() if b.is_floating_point()])

    def gather(self, rows: Tensor) -> Tensor:
        """Put rows of all processes together in the order of ranks; numbers of rows may differ."""
        if self.size == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        distributed.all_gather(counts, torch.tensor([len(rows)], device=self.device))
        most = max(int(count) for count in counts)
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(found, padded)
        return torch.cat([part[: int(n)] for part, n in zip(found, counts, strict=True)])

    def share(self, value: T) -> T:
        """Return the value of the first process on all."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        result: T = box[0]
        return result

    def by_first(self, work: Callable[[], T]) -> T:
        """Let the first process do something and return the result on all.

        Raises:
            CrosscamError: As `work` raises it, on the first process; the others leave silently.
        """
        error: CrosscamError | None = None
        result: Any = None
        if self.first:
            try:
                result = work()
            except CrosscamError as caught:
                error = caught
        code = self.share(None if error is None else error.exit_code)
        if error is not None:
            raise error
        if code is not None:
            raise SystemExit(code)
        shared: T = self.share(result)
        return shared


def launch(recipe: LoopRecipe) -> World:
    """Start the processes of a run; returns in each of them.

    Under `torchrun` its processes are used; otherwise, for several devices, this command is started
    again once for each further device.

    Raises:
        RunError: CUDA was asked for and there is none, or there are fewer devices.
        UsageError: fp16 on a CPU.
    """
    kind = device_kind(recipe)
    if kind == "cpu":
        keep_freed_memory()
    devices, nodes = recipe.devices, 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if kind == "cuda" and torch.cuda.device_count() < devices:
        raise RunError(
            f"{devices} CUDA devices asked for, {torch.cuda.device_count()} found",
            fix=f"loop.devices={torch.cuda.device_count()}",
        )
    if devices * nodes == 1:
        return World(torch.device(kind), half=_HALF[recipe.precision])
    from lightning_fabric import Fabric

    # The strategy only launches and connects; nothing is wrapped in it.
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return World(fabric.device, fabric.global_rank, fabric.world_size, _HALF[recipe.precision])


def device_kind(recipe: LoopRecipe) -> str:
    """Return "cpu" or "cuda".

    Raises:
        RunError: CUDA was asked for and there is none.
        UsageError: fp16 on a CPU.
    """
    found = torch.cuda.is_available()
    if recipe.device == "cuda" and not found:
        raise RunError(
            "loop.device is cuda, but torch finds no CUDA device",
            expected="a GPU, its driver, and a torch that was built for CUDA",
            fix="loop.device=cpu, or look at `crosscam doctor`",
        )
    kind = "cpu" if recipe.device == "cpu" or not found else "cuda"
    if kind == "cpu" and recipe.precision == "fp16":
        raise UsageError(
            "loop.precision is fp16 on a CPU", expected="32 or bf16", fix="loop.precision=32"
        )
    return kind


@contextmanager
def leaving(world: World) -> Iterator[None]:
    """Disconnect the processes at the end."""
    try:
        yield
    finally:
        if world.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        bucket.append(tensor)
        held += tensor.numel()
        if held >= _BUCKET:
            yield bucket
            bucket, held = [], 0
    if bucket:
        yield bucket
