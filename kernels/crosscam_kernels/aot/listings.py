"""Reading what the compilers print: PTX text and the log of ptxas."""

from __future__ import annotations

import re
from typing import NamedTuple

from crosscam_kernels.errors import RunError


class PtxFacts(NamedTuple):
    """What the text of a PTX module with one kernel says."""

    version: str
    target: str
    entry: str
    parameters: tuple[str, ...]  # types such as ".u64", hidden ones included
    block_threads: int


class Resources(NamedTuple):
    """What ptxas allotted to a kernel, bytes per thread where they are bytes."""

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int


def read_ptx(text: str) -> PtxFacts:
    """Reads the facts of a PTX module.

    Raises:
        RunError: The text is not a module with exactly one kernel of fixed block size.
    """
    version = re.search(r"^\.version (\d+\.\d)", text, re.MULTILINE)
    target = re.search(r"^\.target (\w+)", text, re.MULTILINE)
    entries = re.findall(r"\.entry (\w+)\s*\(([^)]*)\)", text)
    block = re.search(r"\.reqntid (\d+)(?:, *(\d+))?(?:, *(\d+))?", text)
    if version is None or target is None or len(entries) != 1 or block is None:
        raise RunError(
            f"the PTX has {len(entries)} kernels and {'a' if block else 'no'} fixed block size",
            expected="one kernel with .version, .target and .reqntid, as Triton writes it",
            fix="report this with the version of Triton",
        )
    entry, declarations = entries[0]
    threads = 1
    for size in block.groups():
        threads *= int(size or 1)
    parameters = tuple(re.findall(r"\.param\s+(\.\w+)", declarations))
    return PtxFacts(version[1], target[1], entry, parameters, threads)


def read_ptxas_log(text: str) -> Resources:
    """Reads the log of ``ptxas -v`` for a module with one kernel.

    Raises:
        RunError: The log does not tell registers and spills.
    """
    registers = re.findall(r"Used (\d+) registers", text)
    frame = re.findall(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text
    )
    if len(registers) != 1 or len(frame) < 1:
        raise RunError(
            "the log of ptxas does not tell registers and spills of one kernel",
            fix="report this with the version of Triton",
        )
    # One line for the kernel and one for each function that was not inlined: they add up.
    stack, store, load = (sum(int(line[i]) for line in frame) for i in range(3))
    return Resources(int(registers[0]), stack, store, load)
