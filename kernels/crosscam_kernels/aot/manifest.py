"""``manifest.json``: what was compiled, and what a launcher must know about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosscam_kernels.errors import InputError

MANIFEST_NAME = "manifest.json"
Count = Annotated[int, Field(ge=0)]
PtxVersion = Annotated[str, Field(pattern=r"^\d+\.\d$")]


class Strict(BaseModel):
    """Nothing unknown, nothing converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class File(Strict):
    """A file beside the manifest."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Count


class Parameter(Strict):
    """One parameter of a launch, in order."""

    name: str
    type: str = Field(description="Triton's spelling: '*fp16' is a pointer, 'i32' a number")
    divisible_by: Literal[1, 16] = Field(description="what the compiler was promised")


class Binary(Strict):
    """A kernel compiled for one architecture."""

    architecture: str
    target: str = Field(description="as in the PTX; 'sm_90a' runs on exactly that architecture")
    entry: str = Field(description="name of the function in the module")
    ptx_version: PtxVersion
    block_threads: Count = Field(description="`.reqntid` of the PTX: the only legal block size")
    shared_bytes: Count = Field(description="dynamic shared memory to launch with")
    registers: Count
    stack_bytes: Count
    spill_store_bytes: Count
    spill_load_bytes: Count
    hidden_parameters: Count = Field(
        description="pointers that Triton declares after the parameters: pass null"
    )
    global_scratch_bytes: Count
    profile_scratch_bytes: Count
    ptx: File
    cubin: File


class Kernel(Strict):
    """A kernel and its binaries, in order of architecture."""

    name: str
    module: str
    plugin: bool
    parameters: tuple[Parameter, ...]
    constants: dict[str, bool | int | float | str | None]
    num_warps: Count
    num_stages: Count
    enable_fp_fusion: bool
    binaries: tuple[Binary, ...]


class Manifest(Strict):
    """The content of ``manifest.json``."""

    version: Literal[1] = 1
    triton_version: str
    kernels: tuple[Kernel, ...]


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Writes ``manifest.json`` and returns its path; the same manifest gives the same bytes."""
    path = folder / MANIFEST_NAME
    path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an output folder.

    Raises:
        InputError: There is none, or it is not a valid manifest.
    """
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror})",
            expected="an output folder of python -m crosscam_kernels.aot",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path} is not a manifest: {where}: {first['msg']}",
            fix="compile anew with python -m crosscam_kernels.aot",
        ) from error
