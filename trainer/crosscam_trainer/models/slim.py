"""First weights small enough to come with crosscam: half precision, and only words that were read.

Nearly all of a small CLIP is its table of 49,408 tokens, of which captions use some hundred; the
others were never trained. A slim checkpoint keeps the rows that texts use, with their numbers, and
every tensor in float16 (10 bits of mantissa: weights are off by 5e-4 of themselves at most, less
than a step of training moves them). `expand` gives back a whole table; tokens that were left out
get the mean of the others, which says nothing of any of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from crosscam_deploy.hashing import sha256_file
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from crosscam_trainer.models.text import ClipText
    from crosscam_trainer.models.weights import Checkpoint

TABLE = "text.token_embedding.weight"
ROWS = "text.token_embedding.rows"
_SIZE = "vocabulary"  # fact: rows of the whole table


def used_tokens(text: ClipText, texts: Iterable[str]) -> Tensor:
    """Return the numbers of the tokens that texts use, ascending, start and end included `(R,)`."""
    found: set[int] = set()
    for one in texts:
        found |= set(text.tokens([one]).flatten().tolist())
    return torch.tensor(sorted(found), dtype=torch.int32)


def write_slim(file: Path, checkpoint: Checkpoint, kept: Tensor) -> str:
    """Write a slim copy of a checkpoint of `save_model`, and ``<name>.weights.json`` beside it.

    Args:
        file: ``<name>.clip.safetensors``; replaced if it exists.
        checkpoint: What to copy.
        kept: `(R,)` int32, token numbers to keep; see `used_tokens`.

    Returns:
        The sha256 of the file.

    Raises:
        InputError: The checkpoint has no table of tokens.
    """
    table = checkpoint.tensors.get(TABLE)
    if table is None:
        raise InputError("the checkpoint has no text tower", expected=f"a tensor {TABLE}")
    small = {
        name: value.half() if value.is_floating_point() else value
        for name, value in checkpoint.tensors.items()
    }
    small[TABLE] = table[kept.long()].half()
    small[ROWS] = kept
    facts = {**checkpoint.facts, _SIZE: str(len(table))}
    save_file({k: v.contiguous() for k, v in small.items()}, file, metadata=facts)
    digest = sha256_file(file)
    about = {"file": file.name, "sha256": digest}
    name = file.name.removesuffix(".clip.safetensors")
    file.with_name(f"{name}.weights.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    return digest


def expand(checkpoint: Checkpoint, origin: str) -> Checkpoint:
    """Return a slim checkpoint in float32 with a whole table; any other as it is.

    Args:
        checkpoint: What was read.
        origin: Where from, for messages.

    Raises:
        InputError: Its token numbers do not fit its table.
    """
    rows = checkpoint.tensors.get(ROWS)
    if rows is None:
        return checkpoint
    kept = checkpoint.tensors.get(TABLE)
    size = checkpoint.facts.get(_SIZE, "")
    if (
        kept is None
        or kept.ndim != 2
        or rows.shape != kept.shape[:1]
        or not len(rows)
        or not size.isdecimal()
        or int(size) > 1 << 20  # no more memory than a large vocabulary takes
        or int(rows.min()) < 0
        or int(rows.max()) >= int(size)
    ):
        raise InputError(
            f"{origin} has a damaged table of tokens",
            expected="as many numbers below the vocabulary's size as rows",
            fix="get the file again",
        )
    whole = kept.float().mean(0).repeat(int(size), 1)
    whole[rows.long()] = kept.float()
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in checkpoint.tensors.items()}
    del tensors[ROWS]
    return checkpoint._replace(tensors=tensors | {TABLE: whole})
