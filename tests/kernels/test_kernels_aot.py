"""Ahead-of-time compilation: what needs no Triton."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crosscam_kernels.aot import ARCHITECTURES, KernelSpec, compile_kernels, read_manifest
from crosscam_kernels.aot import registry as registry_module
from crosscam_kernels.aot.architectures import architecture
from crosscam_kernels.aot.listings import read_ptx, read_ptxas_log
from crosscam_kernels.aot.manifest import Manifest, write_manifest
from crosscam_kernels.aot.plugin_ptx import without_hidden_parameters
from crosscam_kernels.aot.tables import resource_page
from crosscam_kernels.errors import InputError, MissingExtraError, RunError, UsageError

PTX = """
.version 8.0
.target sm_90a
.address_size 64
.visible .entry scale_kernel(
	.param .u64 .ptr .global .align 1 scale_kernel_param_0,
	.param .u32 scale_kernel_param_1,
	.param .u64 .ptr .global .align 1 scale_kernel_param_2,
	.param .u64 .ptr .global .align 1 scale_kernel_param_3
)
.reqntid 128
{
	ret;
}
"""

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'scale_kernel' for 'sm_90a'
ptxas info    : Function properties for scale_kernel
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 560 bytes cmem[0]
"""


def test_importing_the_package_loads_neither_torch_nor_triton() -> None:
    code = (
        "import sys, crosscam_kernels.aot, crosscam_kernels.aot.registry;"
        "print([m for m in ('torch', 'triton', 'crosscam_kernels._native') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_facts_of_ptx() -> None:
    facts = read_ptx(PTX)
    assert facts.version == "8.0"
    assert facts.target == "sm_90a"
    assert facts.entry == "scale_kernel"
    assert facts.parameters == (".u64", ".u32", ".u64", ".u64")
    assert facts.block_threads == 128
    assert read_ptx(PTX.replace(".reqntid 128", ".reqntid 32, 4, 2")).block_threads == 256


@pytest.mark.parametrize("broken", [PTX.replace(".reqntid 128", ""), PTX + PTX, ""])
def test_ptx_that_cannot_be_launched_is_an_error(broken: str) -> None:
    with pytest.raises(RunError, match="Expected: one kernel"):
        read_ptx(broken)


def test_resources_of_a_log() -> None:
    assert read_ptxas_log(LOG) == (40, 16, 8, 12)
    called = LOG.replace(
        "ptxas info    : Used",
        "    32 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads\nptxas info    : Used",
    )
    assert read_ptxas_log(called) == (40, 48, 8, 16)
    with pytest.raises(RunError, match="registers and spills"):
        read_ptxas_log("ptxas info    : 0 bytes gmem")


def spec(**changes: object) -> KernelSpec:
    values: dict[str, object] = {
        "name": "scale",
        "fn": None,
        "signature": {"x_ptr": "*fp16:16", "count": "i32"},
        "constexprs": {"BLOCK": 128},
    }
    return KernelSpec(**{**values, **changes})  # type: ignore[arg-type]


def test_types_of_parameters() -> None:
    assert spec().parameter_type("x_ptr") == ("*fp16", 16)
    assert spec().parameter_type("count") == ("i32", 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Scale-fp16"}, "lower-case"),
        ({"signature": {"x_ptr": "float*"}}, "type of Triton"),
        ({"signature": {"x_ptr": "*fp16:8"}}, "type of Triton"),
        ({"signature": {"BLOCK": "i32"}}, "in both signature and constexprs"),
        ({"num_warps": 3}, "power of two"),
        ({"plugin": True, "signature": {"margin": "fp32"}}, "32 bits"),
        ({"plugin": True, "signature": {"rows": "i64"}}, "32 bits"),
    ],
)
def test_a_specification_that_cannot_be_compiled_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        spec(**changes)


def test_every_architecture_has_a_ptx_version_that_knows_it() -> None:
    # First ISA of each target, PTX documentation, table of target names.
    first = {80: 70, 86: 71, 87: 74, 89: 78, 90: 80, 100: 86, 110: 90, 120: 87}
    assert {a.capability for a in ARCHITECTURES.values()} == set(first)
    for a in ARCHITECTURES.values():
        assert a.name == f"sm_{a.capability}"
        assert first[a.capability] <= a.ptx_version <= 90  # driver 580 reads up to 9.0
    with pytest.raises(UsageError, match="sm_75"):
        architecture("sm_75")


def test_missing_triton_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"crosscam\[train\]"):
        compile_kernels(tmp_path / "out", architectures=["sm_90"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="jobs=0"):
        compile_kernels(tmp_path, jobs=0)


MANIFEST = {
    "version": 1,
    "triton_version": "3.8.0",
    "kernels": [
        {
            "name": "scale",
            "module": "some.module",
            "plugin": False,
            "parameters": [{"name": "x_ptr", "type": "*fp16", "divisible_by": 16}],
            "constants": {"BLOCK": 128, "EPS": 0.5, "FAST": True, "MODE": "a", "BIAS": None},
            "num_warps": 4,
            "num_stages": 3,
            "enable_fp_fusion": True,
            "binaries": [
                {
                    "architecture": "sm_90",
                    "target": "sm_90a",
                    "entry": "scale_kernel",
                    "ptx_version": "8.0",
                    "block_threads": 128,
                    "shared_bytes": 0,
                    "registers": 40,
                    "stack_bytes": 0,
                    "spill_store_bytes": 0,
                    "spill_load_bytes": 0,
                    "hidden_parameters": 2,
                    "global_scratch_bytes": 0,
                    "profile_scratch_bytes": 0,
                    "ptx": {"path": "scale.sm_90.ptx", "sha256": "0" * 64, "size": 10},
                    "cubin": {"path": "scale.sm_90.cubin", "sha256": "0" * 64, "size": 10},
                }
            ],
        }
    ],
}


def test_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(MANIFEST))
    manifest = read_manifest(tmp_path)
    assert manifest.kernels[0].constants["FAST"] is True
    assert manifest.kernels[0].binaries[0].target == "sm_90a"
    written = write_manifest(manifest, tmp_path).read_bytes()
    assert json.loads(written) == MANIFEST
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"num_warps": 4', '"num_warps": "4"', "kernels.0.num_warps"),
        ('"num_warps": 4', '"num_warps": 4, "extra": 1', "kernels.0.extra"),
        ('"registers": 40', '"registers": -1', "kernels.0.binaries.0.registers"),
        ('"version": 1', '"version": 2', "version"),
        ("}]}", "", "the file"),
    ],
)
def test_a_manifest_with_anything_else_is_refused(
    tmp_path: Path, old: str, new: str, where: str
) -> None:
    text = json.dumps(MANIFEST)
    assert old in text
    (tmp_path / "manifest.json").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=f"not a manifest: {where}"):
        read_manifest(tmp_path)


def test_table_of_resources() -> None:
    kernel = MANIFEST["kernels"][0]  # type: ignore[index]
    spilling = {**kernel["binaries"][0], "architecture": "sm_80", "spill_load_bytes": 12}
    spilling["shared_bytes"] = 49152
    changed = {**kernel, "plugin": True, "binaries": [kernel["binaries"][0], spilling]}
    manifest = Manifest.model_validate_json(json.dumps({**MANIFEST, "kernels": [kernel, changed]}))
    rows = resource_page(manifest).splitlines()[-4:]
    assert rows == [
        "| kernel | threads | sm_80 | sm_90 |",
        "|---|---|---|---|",
        "| `scale` | 128 | - | 40 / 0.0 |",
        "| `scale` * | 128 | 40 / 48.0, **12 B spilled** | 40 / 0.0 |",
    ]


def test_hidden_parameters_are_taken_out() -> None:
    short = without_hidden_parameters(PTX, 2)
    assert read_ptx(short).parameters == (".u64", ".u32")
    assert short.endswith(PTX[PTX.index(".reqntid") :])
    assert read_ptx(without_hidden_parameters(PTX, 4)).parameters == ()
    with pytest.raises(RunError, match="at least the 5 hidden"):
        without_hidden_parameters(PTX, 5)
    reading = PTX.replace("ret;", "ld.param.b64 %rd1, [scale_kernel_param_3];")
    with pytest.raises(RunError, match="reads its hidden parameter 3"):
        without_hidden_parameters(reading, 2)


def test_no_manifest_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output folder of python -m crosscam_kernels.aot"):
        read_manifest(tmp_path)
