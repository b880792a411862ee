"""Every way to a model's graph: hashes are checked first, then the graph, and only then it is read.

An attacker can write a manifest whose hashes are right. So a graph that reaches outside its folder,
lies about sizes or needs foreign code must be refused at each door, not only where files come in.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from verify_parts import paint_crops

from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.export.retrieval_head import RetrievalHead, export_search
from crosscam_deploy.manifest import MANIFEST_NAME, compute_model_id
from crosscam_deploy.runtime import open_runtime, openvino_graph
from crosscam_deploy.runtime.torch_program import read_source
from crosscam_deploy.verify.plain import PlainSession
from crosscam_edge.cli import main
from crosscam_kernels.errors import InputError


def outside(model: Any) -> None:
    """Its weights are in a file above the bundle."""
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../secret.bin")


def huge(model: Any) -> None:
    """It claims four terabytes."""
    model.graph.initializer.append(
        TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**20, 2**20], raw_data=b"")
    )


def foreign(model: Any) -> None:
    """It needs an operator that would come as a library."""
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node[0].domain = "evil"


EVIL = {
    "outside": (outside, "has its numbers in '../secret.bin'"),
    "huge": (huge, "claims 4398046511104 bytes"),
    "foreign": (foreign, "needs the operator 'Conv' of 'evil'"),
}


def honest_looking(tiny: Bundle, folder: Path, spoil: Callable[[Any], None]) -> Path:
    """A bundle around a spoilt graph, all of whose hashes are right."""
    model = onnx.load(tiny.model_path)
    spoil(model)
    folder.mkdir()
    (folder.parent / "secret.bin").write_bytes(bytes(8 * 3 * 3 * 3 * 4))
    name = tiny.manifest.model_file
    (folder / name).write_bytes(model.SerializeToString())
    manifest = tiny.manifest
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    changed = manifest.model_copy(
        update={
            "files": files,
            "model_id": compute_model_id(
                task=manifest.task,
                files=files,
                output_names=manifest.output_names,
                preprocessing=manifest.preprocessing,
                decoder=manifest.decoder,
            ),
        }
    )
    (folder / MANIFEST_NAME).write_text(json.dumps(changed.model_dump(mode="json")))
    return folder


def command(*words: object) -> Callable[[Path, Path], None]:
    """A door through the command line, which must end with status 3 and say why."""

    def run(bundle: Path, crops: Path) -> None:
        known = {"BUNDLE": bundle, "CROPS": crops, "OUT": bundle.parent / "out"}
        known["GRAPH"] = bundle / "tiny.onnx"
        said = io.StringIO()
        with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as left:
            main([str(known.get(str(word), word)) for word in words])
        assert left.value.code == 3, said.getvalue()
        raise InputError(said.getvalue())

    return run


QUICK = ("--rounds", 1, "--seconds", 0, "--batch", 1)
DOORS: dict[str, Callable[[Path, Path], Any]] = {
    "openvino": lambda bundle, _: open_runtime(load_bundle(bundle), runtime="openvino"),
    "openvino, later": lambda bundle, _: open_runtime(
        load_bundle(bundle), runtime="openvino", lazy=True
    ),
    "onnxruntime": lambda bundle, _: open_runtime(load_bundle(bundle), runtime="onnxruntime"),
    "onnxruntime, later": lambda bundle, _: open_runtime(
        load_bundle(bundle), runtime="onnxruntime", lazy=True
    ),
    "onnxruntime, plain": lambda bundle, _: PlainSession(load_bundle(bundle)),
    "torch": lambda bundle, _: read_source(load_bundle(bundle)),
    "auto": lambda bundle, _: open_runtime(load_bundle(bundle)),
    "search": lambda bundle, _: export_search(
        load_bundle(bundle), bundle.parent / "search.onnx", RetrievalHead(3)
    ),
    "import": command(
        "models", "import", "GRAPH", "--task", "embed", "--color", "rgb", "--normalise", "unit",
        "-o", "OUT",
    ),
    "build int8": command(
        "build", "BUNDLE", "--crops", "CROPS", "--precision", "int8", "-o", "OUT", *QUICK
    ),
    "build f16": command(
        "build", "BUNDLE", "--crops", "CROPS", "--precision", "f16", "-o", "OUT", *QUICK
    ),
}  # fmt: skip


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    paint_crops(tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing may be read by an engine, and nobody may look for the weights."""
    reached: list[str] = []

    def engine(name: str) -> Callable[..., Any]:
        def read(*_: Any, **__: Any) -> Any:
            reached.append(name)
            raise RuntimeError(f"{name} was reached")

        return read

    monkeypatch.setattr(onnxruntime, "InferenceSession", engine("ONNX Runtime"))
    core = openvino_graph.core()
    shut = type("Core", (), {"__getattr__": lambda _, name: getattr(core, name)})()
    shut.read_model = engine("OpenVINO")
    monkeypatch.setattr(openvino_graph, "core", lambda: shut)
    from onnx import external_data_helper

    monkeypatch.setattr(
        external_data_helper, "load_external_data_for_tensor", engine("onnx's reader of weights")
    )
    return reached


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("door", DOORS)
def test_evil_graphs_with_right_hashes_reach_no_engine(
    tiny: Bundle,
    tmp_path: Path,
    crops: Path,
    engines: list[str],
    door: str,
    evil: str,
) -> None:
    spoil, words = EVIL[evil]
    bundle = honest_looking(tiny, tmp_path / "evil", spoil)
    with pytest.raises(InputError) as caught:
        DOORS[door](bundle, crops)
    assert words in str(caught.value)
    assert engines == []


@pytest.mark.parametrize("evil", EVIL)
def test_verify_reports_an_evil_candidate_and_goes_on(
    tiny: Bundle, tmp_path: Path, crops: Path, capsys: pytest.CaptureFixture[str], evil: str
) -> None:
    spoil, words = EVIL[evil]
    bundle = honest_looking(tiny, tmp_path / "evil", spoil)
    with pytest.raises(SystemExit) as left:
        main(
            [
                "verify", str(tiny.path), str(bundle), "--crops", str(crops), "--runtime",
                "onnxruntime", "--json", "-", "--no-save", "--no-baseline", *map(str, QUICK),
            ]
        )  # fmt: skip
    assert left.value.code == 4
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["status"] for row in rows] == ["passed", "failed"]
    assert words in rows[1]["reasons"][0]


def changed(bundle: Bundle) -> Path:
    """Flip a bit of the weights: still a graph, and not the manifest's."""
    model = onnx.load(bundle.model_path)
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[0, 0, 0, 0] = np.nextafter(weights[0, 0, 0, 0], np.float32(9))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    onnx.save(model, bundle.model_path)
    return bundle.path


@pytest.mark.parametrize("door", [name for name in DOORS if name != "import"])
def test_files_that_are_not_the_manifests_reach_no_engine(
    tiny: Bundle, crops: Path, engines: list[str], door: str
) -> None:
    with pytest.raises(InputError, match=r"tiny\.onnx in .* has sha256"):
        DOORS[door](changed(tiny), crops)
    assert engines == []
