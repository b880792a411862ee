"""Ahead-of-time compilation of the real kernels, and of kernels that do not compile."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosscam_kernels.aot import ARCHITECTURES, Manifest, compile_kernels, read_manifest
from crosscam_kernels.aot.listings import read_ptx
from crosscam_kernels.aot.plugin_ptx import without_hidden_parameters
from crosscam_kernels.aot.worker import most_registers
from crosscam_kernels.aot.workers import Worker
from crosscam_kernels.errors import RunError, UsageError

pytest.importorskip("torch")
pytest.importorskip("triton")

SMOKE = ("normalise_quantise_bf16_2048", "normalise_quantise_fp32_512")
PLUGIN_SHARED_BYTES = 48 * 1024  # what a launch may ask for without raising the limit of the kernel

BAD_KERNELS = """
import os

import triton
import triton.language as tl
from crosscam_kernels.aot import KernelSpec

@triton.jit
def good_kernel(x_ptr):
    tl.store(x_ptr + tl.program_id(0), 1.0)

@triton.jit
def wrong_kernel(x_ptr):
    tl.store(x_ptr, tl.no_such_function(1))

@triton.jit
def missing_kernel(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, BLOCK), 1.0)

class CrashingKernel:
    arg_names = ["x_ptr", "BLOCK"]

    @property
    def params(self):
        os.abort()

AOT_KERNELS = [
    KernelSpec("crashing", CrashingKernel(), {"x_ptr": "*fp32"}, {}),
    KernelSpec("good", good_kernel, {"x_ptr": "*fp32"}, {}),
    KernelSpec("wrong", wrong_kernel, {"x_ptr": "*fp32"}, {}),
    KernelSpec("missing", missing_kernel, {"x_ptr": "*fp32"}, {}),
    KernelSpec("hopper_only", good_kernel, {"x_ptr": "*fp32"}, {}, architectures=("sm_90",)),
]
"""


@pytest.fixture
def bad_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "bad_kernels.py").write_text(BAD_KERNELS)
    (folder / "no_kernels.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return ["bad_kernels"]


def check(manifest: Manifest, folder: Path) -> None:
    """What every kernel must keep to, whoever wrote it; says all that is wrong at once."""
    assert read_manifest(folder) == manifest
    problems = []
    for kernel in manifest.kernels:
        for binary in kernel.binaries:
            target = ARCHITECTURES[binary.architecture]
            held = {
                "target": binary.target in (target.name, target.name + "a"),
                "PTX version": int(binary.ptx_version.replace(".", "")) <= target.ptx_version,
                "block": binary.block_threads == 32 * kernel.num_warps,
                "spills": binary.spill_store_bytes == binary.spill_load_bytes == 0,
                "stack": binary.stack_bytes == 0,
                "scratch": binary.global_scratch_bytes == binary.profile_scratch_bytes == 0,
                "hidden parameters": binary.hidden_parameters == 2,
                "shared": binary.shared_bytes
                <= (PLUGIN_SHARED_BYTES if kernel.plugin else target.shared_kib * 1024),
            }
            problems += [
                f"{kernel.name} {target.name}: {name}" for name, fine in held.items() if not fine
            ]
            for file in (binary.ptx, binary.cubin):
                content = (folder / file.path).read_bytes()
                assert len(content) == file.size
                assert hashlib.sha256(content).hexdigest() == file.sha256
            assert (folder / binary.cubin.path).read_bytes().startswith(b"\x7fELF")
            assert ".loc" not in (folder / binary.ptx.path).read_text()
    assert not problems


def assemble(ptx: Path, target: str) -> None:
    """Fails unless ptxas accepts the file."""
    from triton import knobs

    command = [knobs.nvidia.ptxas.path, f"--gpu-name={target}", "-o", os.devnull, str(ptx)]
    subprocess.run(command, check=True)


def test_two_kernels_for_two_architectures(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = compile_kernels(
        tmp_path,
        kernels=SMOKE,
        architectures=["sm_87", "sm_120"],
        progress=lambda done, total, name: seen.append((done, total)),
    )
    check(manifest, tmp_path)
    for kernel in manifest.kernels:
        assert kernel.plugin
        binary = kernel.binaries[0]
        ptx = (tmp_path / binary.ptx.path).read_text()
        short = tmp_path / "short.ptx"
        short.write_text(without_hidden_parameters(ptx, binary.hidden_parameters))
        assert len(read_ptx(short.read_text()).parameters) == len(kernel.parameters)
        assemble(short, binary.target)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [k.name for k in manifest.kernels] == list(SMOKE)
    assert [b.architecture for b in manifest.kernels[0].binaries] == ["sm_87", "sm_120"]
    names = {path.name for path in tmp_path.iterdir()}
    stems = {f"{name}.{arch}" for name in SMOKE for arch in ("sm_87", "sm_120")}
    expected = {f"{s}.{end}" for s in stems for end in ("ptx", "cubin")}
    assert names == expected | {"manifest.json", "short.ptx"}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_whole_matrix(tmp_path: Path) -> None:
    """`make cuda` names the folder that it has just compiled, so that it is compiled once."""
    folder = Path(os.environ.get("CROSSCAM_AOT_DIR", tmp_path))
    manifest = compile_kernels(folder) if folder == tmp_path else read_manifest(folder)
    check(manifest, folder)
    with (tmp_path / "errors").open("wb") as errors, Worker(None, errors) as worker:
        offered = worker.kernels
    assert {k.name: {b.architecture for b in k.binaries} for k in manifest.kernels} == {
        name: set(described["architectures"] or ARCHITECTURES)
        for name, described in offered.items()
    }


def test_a_spilled_kernel_gets_all_registers(tmp_path: Path) -> None:
    """ptxas prefers one more block on a multiprocessor to a few bytes in memory."""
    manifest = compile_kernels(
        tmp_path,
        kernels=["similarity_stream_plugin_fp32_16_k16"],
        architectures=["sm_120"],
        jobs=1,
    )
    check(manifest, tmp_path)
    binary = manifest.kernels[0].binaries[0]
    assert ".maxnreg 255" in (tmp_path / binary.ptx.path).read_text()
    assert binary.registers > 128
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {binary.ptx.path, binary.cubin.path, "manifest.json"}


def test_the_registers_of_a_multiprocessor_are_shared_by_the_threads_of_a_block() -> None:
    assert [most_registers(warps) for warps in (1, 8, 16, 32)] == [255, 255, 128, 64]


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path, bad_kernels: list[str]) -> None:
    one, two = (
        compile_kernels(
            tmp_path / name, modules=bad_kernels, kernels=["good"], architectures=["sm_80"], jobs=1
        )
        for name in ("one", "two")
    )
    assert one == two


def test_a_kernel_that_does_not_compile_is_named(tmp_path: Path, bad_kernels: list[str]) -> None:
    for kernel, reason in (("wrong", "no_such_function"), ("missing", "neither in signature")):
        with pytest.raises(RunError, match=rf"kernel '{kernel}' does not compile.*(\n.*)*{reason}"):
            compile_kernels(
                tmp_path,
                modules=bad_kernels,
                kernels=[kernel],
                architectures=["sm_80"],
                jobs=1,
            )
    assert not (tmp_path / "manifest.json").exists()


def test_the_end_of_the_compiling_process_costs_one_kernel(
    tmp_path: Path, bad_kernels: list[str]
) -> None:
    """PTX 8.0 does not know sm_120: LLVM ends the process. A crash does so as well."""
    (tmp_path / "modules" / "sitecustomize.py").write_text(
        "from dataclasses import replace\n"
        "from crosscam_kernels.aot.architectures import ARCHITECTURES as A\n"
        "A['sm_120'] = replace(A['sm_120'], ptx_version=80)\n"
    )
    with (tmp_path / "errors").open("wb") as errors, Worker(bad_kernels, errors) as worker:
        with pytest.raises(RunError, match=r"for sm_120: (.*\n)*LLVM ERROR: PTX version 8.0"):
            worker.compile("good", "sm_120", tmp_path)
        with pytest.raises(RunError, match=r"'crashing' does not compile .* died of SIGABRT"):
            worker.compile("crashing", "sm_90", tmp_path)
        assert "registers" in worker.compile("good", "sm_90", tmp_path)


def test_kernels_of_some_architectures_only(tmp_path: Path, bad_kernels: list[str]) -> None:
    with pytest.raises(UsageError, match="no kernel is to be compiled"):
        compile_kernels(
            tmp_path, modules=bad_kernels, kernels=["hopper_only"], architectures=["sm_80"]
        )
    manifest = compile_kernels(
        tmp_path,
        modules=bad_kernels,
        kernels=["good", "hopper_only"],
        architectures=["sm_80", "sm_90"],
    )
    assert {k.name: [b.architecture for b in k.binaries] for k in manifest.kernels} == {
        "good": ["sm_80", "sm_90"],
        "hopper_only": ["sm_90"],
    }


def test_unknown_names_are_refused(tmp_path: Path, bad_kernels: list[str]) -> None:
    with pytest.raises(UsageError, match=r"no kernel is called nothing.*good"):
        compile_kernels(tmp_path, modules=bad_kernels, kernels=["nothing"])
    (tmp_path / "manifest.json").write_text("of an earlier run")
    with pytest.raises(RunError, match="absent_module"):
        compile_kernels(tmp_path, modules=["absent_module"])
    assert not (tmp_path / "manifest.json").exists()
    with pytest.raises(RunError, match="no_kernels has no AOT_KERNELS"):
        compile_kernels(tmp_path, modules=["no_kernels"])


def test_command_line(tmp_path: Path, bad_kernels: list[str]) -> None:
    command = [sys.executable, "-m", "crosscam_kernels.aot", "--out", str(tmp_path / "out")]
    command += ["--module", "bad_kernels", "--arch", "sm_80", "--jobs", "1"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # must not reach the compiler
    good = subprocess.run(
        [*command, "--kernel", "good", "--table", str(tmp_path / "table.md")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert good.returncode == 0, good.stderr
    assert "| `good` | 128 |" in (tmp_path / "table.md").read_text()
    assert "good" in good.stdout
    assert read_manifest(tmp_path / "out").kernels[0].name == "good"
    bad = subprocess.run([*command, "--kernel", "wrong"], capture_output=True, text=True)
    assert bad.returncode == RunError.exit_code
    assert "error: kernel 'wrong' does not compile for sm_80" in bad.stderr
