"""The folder that the tests of ``deploy/csrc`` read: kernels by name, and how they are launched.

``python tests/deploy/trt_fixture.py`` compiles the kernels and writes the folder anew; the code is
left out of the files, what is declared of it stays. Needs ``crosscam[train]``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from fake_tensorrt_plugin import FakePlugin, TensorDesc, trt

from crosscam_deploy.plugins import PluginKernels, register_plugins

FOLDER = Path(__file__).parents[2] / "deploy/csrc/tests/kernels"
LAUNCHES = FOLDER.with_name("launches.txt")
ARCHITECTURE = "sm_87"
KERNELS = (
    "normalise_quantise_fp16_512",
    "normalise_quantise_fp32_2048",
    "normalise_quantise_fp32_512",
    "similarity_merge_k16",
    "similarity_stream_plugin_fp16_16_k16",
    "similarity_stream_plugin_fp32_16_k16",
    "similarity_stream_plugin_masked_fp16_16_k16",
    "similarity_stream_plugin_masked_fp32_16_k16",
)
DTYPES = {"fp32": "float32", "fp16": "float16"}
SEARCHES = (
    (1, 1, 64), (16, 128, 64), (17, 129, 128), (20, 5000, 384), (1, 16384, 768),
    (3, 16385, 512), (1000, 10**6, 2048), (2, 10**7, 256),
)  # fmt: skip
QUANTISED = (
    ("fp32", 1, 16),
    ("fp32", 8, 512),
    ("fp32", 9, 528),
    ("fp32", 7, 4096),
    ("fp16", 5, 384),
)


def launches(folder: Path) -> str:
    """What TensorRT would launch, by the Python plugins, with the kernels of a folder.

    A line ``search DTYPE MASKED Q G D`` or ``quantise DTYPE N D``, then one for each launch: entry,
    grid, block, shared memory, and the integers in order.
    """
    fake = FakePlugin()
    kernels = PluginKernels(folder, ARCHITECTURE)
    register_plugins(trt, fake, kernels, dtypes=tuple(DTYPES))
    lines = []
    for dtype, name in DTYPES.items():
        for masked in (False, True):
            for queries, rows, dim in SEARCHES:
                given = [TensorDesc((queries, dim), name), TensorDesc((rows, dim), name)]
                if masked:
                    kinds = (rows, "bool"), (queries, "int32"), (rows, "int32")
                    given += [TensorDesc((length,), kind) for length, kind in kinds]
                part = "Masked" if masked else ""
                first = fake.launch(f"crosscam::SimilarityPartial{part}", *given)
                second = fake.launch("crosscam::SimilarityMerge", *first.outputs)
                lines.append(f"search {dtype} {int(masked)} {queries} {rows} {dim}")
                lines += [_line(first), _line(second)]
    for dtype, count, dim in QUANTISED:
        launch = fake.launch("crosscam::NormaliseQuantise", TensorDesc((count, dim), DTYPES[dtype]))
        lines += [f"quantise {dtype} {count} {dim}", _line(launch)]
    return "\n".join(lines) + "\n"


def _line(launch: Any) -> str:
    numbers = [*launch.grid, *launch.block, launch.shared, *launch.scalars]
    return " ".join([launch.entry, *map(str, numbers)])


def write_fixture() -> None:
    """Compile, take the code out, and write."""
    from crosscam_kernels.aot import compile_kernels

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        compile_kernels(Path(made), architectures=[ARCHITECTURE], kernels=[*KERNELS], jobs=1)
        told = json.loads((Path(made) / "manifest.json").read_text())
        for kernel in told["kernels"]:
            (binary,) = kernel["binaries"]
            ptx = (Path(made) / binary["ptx"]["path"]).read_text()
            head = re.search(r"\.version.*?\.reqntid[^\n]*\n", ptx, re.DOTALL)
            assert head
            texts = {
                "ptx": head[0] + "{\n\tret;\n}\n",
                "cubin": f"code of {kernel['name']} for {ARCHITECTURE}\n",
            }
            for kind, text in texts.items():
                (FOLDER / binary[kind]["path"]).write_text(text)
                binary[kind]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
                binary[kind]["size"] = len(text.encode())
    (FOLDER / "manifest.json").write_text(json.dumps(told, indent=1) + "\n")
    LAUNCHES.write_text(launches(FOLDER))


if __name__ == "__main__":
    write_fixture()
