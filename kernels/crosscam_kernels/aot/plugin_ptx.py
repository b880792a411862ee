"""PTX of a kernel as a TensorRT ahead-of-time plugin launches it."""

from __future__ import annotations

import re

from crosscam_kernels.aot.listings import read_ptx
from crosscam_kernels.errors import RunError

_ENTRY = re.compile(r"(\.entry \w+\s*\()([^)]*)(\))")


def without_hidden_parameters(ptx: str, hidden: int) -> str:
    """Takes the parameters that Triton appends for scratch memory out of a kernel.

    TensorRT passes inputs, integers and outputs, and nothing for the pointers that Triton declares
    after them. A kernel that never reads them works either way; without them, what is declared is
    what is passed.

    Args:
        ptx: Module with one kernel.
        hidden: Number of parameters to remove from the end: `Binary.hidden_parameters`.

    Raises:
        RunError: The kernel has fewer parameters, or reads one of those.
    """
    facts = read_ptx(ptx)
    kept = len(facts.parameters) - hidden
    if kept < 0:
        raise RunError(
            f"{facts.entry} has {len(facts.parameters)} parameters",
            expected=f"at least the {hidden} hidden ones",
        )

    def shorten(match: re.Match[str]) -> str:
        declared = match[2].split(",")
        kept_text = ",".join(declared[:kept])
        return match[1] + kept_text + ("\n" if kept else "") + match[3]

    shortened = _ENTRY.sub(shorten, ptx)
    for number in range(kept, len(facts.parameters)):
        if re.search(rf"\b{facts.entry}_param_{number}\b", shortened):
            raise RunError(
                f"{facts.entry} reads its hidden parameter {number}",
                expected="a kernel that needs no scratch memory",
                fix="do not use it as a plugin",
            )
    return shortened
