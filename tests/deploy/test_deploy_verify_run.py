"""`verify` on small real graphs: rows, refusals, and candidates that break."""

from __future__ import annotations

import numpy as np
import pytest
from verify_parts import painted

from crosscam_deploy.verify import Candidate, Gates, settings, verify
from crosscam_kernels.errors import InputError, RunError

onnx = pytest.importorskip("onnx")
QUICK = {"rounds": 2, "seconds": 0.0, "batches": (1, 3)}


def test_engines_of_one_model_agree_and_are_timed(tiny, tmp_path):
    pytest.importorskip("openvino")
    report = verify(
        Candidate(bundle=tiny.path),
        [Candidate(bundle=tiny.path, runtime="openvino", threads=1),
         Candidate(bundle=tiny.path, streams=2)],
        painted(tmp_path / "crops"),
        baseline=Candidate(bundle=tiny.path, runtime="onnxruntime-plain"),
        **QUICK,
    )  # fmt: skip
    assert [row.role for row in report.rows] == ["reference", "baseline", "candidate", "candidate"]
    assert report.passed
    assert report.data.people == 4
    for row in report.rows:
        found = row.accuracy
        assert found.cosine_min > 0.99999
        assert found.top1_agreement == 1.0
        assert found.mean_ap == pytest.approx(report.reference.accuracy.mean_ap)
        assert found.mean_ap_change == 0.0
        assert [speed.batch for speed in row.speed] == [1, 3]
        for speed in row.speed:
            assert speed.calls >= 2 * 3
            assert 0 < speed.ms_median <= speed.ms_p95
            assert speed.ms_each * speed.each_per_second == pytest.approx(1000)
        assert row.peak_memory_bytes >= row.running_memory_bytes > 10_000_000
        assert row.file_bytes == tiny.model_path.stat().st_size
    assert all(speed.ratio == 1.0 for speed in report.rows[1].speed)
    assert report.fastest() in (report.reference, *report.candidates)
    again = type(report).model_validate_json(report.model_dump_json())
    assert again == report


def test_another_network_is_refused_with_the_reason(tiny, tmp_path, make):
    other = make.pack_embedder(
        tmp_path / "other", make.write_embedder(tmp_path / "other.onnx", seed=5)
    )
    data = painted(tmp_path / "crops")
    report = verify(
        Candidate(bundle=tiny.path),
        [Candidate(bundle=other.path)],
        data,
        gates=Gates(min_top1_agreement=1.0),
        **QUICK,
    )
    (row,) = report.candidates
    # Vectors of two models are never compared, what they find is.
    assert row.accuracy.cosine_mean is None
    assert row.accuracy.mean_ap_change is not None
    assert row.status == "refused"
    assert any("top-1 agreement" in reason for reason in row.reasons)
    assert row.speed, "a refused candidate is timed: the reason may be worth it to somebody"
    assert not report.passed


def _write(make, tmp_path, name: str, nodes, initializers=()):
    """Pack a graph from `images` to `embedding` `(n, 8)`."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 32, 16])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 8])],
        list(initializers),
    )
    file = tmp_path / f"{name}.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)
    return make.pack_embedder(tmp_path / name, file, name=name)


def _greedy(make, tmp_path):
    """A graph that asks for 64 TiB while it runs."""
    from onnx import helper, numpy_helper

    numbers = {"sizes": [1 << 44], "zero": [0], "eight": [8], "one": [1]}
    return _write(
        make,
        tmp_path,
        "greedy",
        [
            helper.make_node("ConstantOfShape", ["sizes"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Add", ["mean", "sum"], ["thin"]),
            helper.make_node("Concat", ["thin", "thin", "thin"], ["wide"], axis=1),
            helper.make_node("Slice", ["wide", "zero", "eight", "one"], ["embedding"]),
        ],
        [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in numbers.items()],
    )


def _nothing(make, tmp_path):
    """A graph that answers with what is no number."""
    from onnx import helper, numpy_helper

    return _write(
        make,
        tmp_path,
        "nothing",
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Sub", ["mean", "mean"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["nan"]),
            helper.make_node("Concat", ["nan"] * 3, ["wide"], axis=1),
            helper.make_node("Gather", ["wide", "first"], ["embedding"], axis=1),
        ],
        [numpy_helper.from_array(np.arange(8), "first")],
    )


def _tampered(make, tmp_path):
    """A bundle in whose graph one bit was turned."""
    bundle = make.pack_embedder(
        tmp_path / "tampered", make.write_embedder(tmp_path / "tampered.onnx", seed=1)
    )
    content = bytearray(bundle.model_path.read_bytes())
    content[-3] ^= 1
    bundle.model_path.unlink()
    bundle.model_path.write_bytes(content)
    return bundle


def test_candidates_that_break_are_rows_and_the_others_go_on(tiny, tmp_path, make):
    mixes = make.pack_embedder(
        tmp_path / "mixes", make.write_embedder(tmp_path / "mixes.onnx", mixes_batch=True)
    )
    bundles = [_greedy(make, tmp_path), _nothing(make, tmp_path), _tampered(make, tmp_path), mixes]
    report = verify(
        Candidate(bundle=tiny.path),
        [*(Candidate(bundle=bundle.path) for bundle in bundles),
         Candidate(bundle=tmp_path / "absent"),
         Candidate(bundle=tiny.path, threads=1)],
        painted(tmp_path / "crops"),
        **QUICK,
    )  # fmt: skip
    *broken, good = report.candidates
    expected = ("alloc", "not finite", "sha256", "change with the batch size", "no bundle")
    for row, reason in zip(broken, expected, strict=True):
        assert row.status == "failed"
        assert reason in row.reasons[0]
        assert row.speed == (), "nothing is timed before its answer was right"
    assert report.candidates[2].open_ms is None, "nothing is loaded before its hash was checked"
    assert good.status == "passed"
    assert good.speed
    assert not report.passed


def test_a_reference_that_gives_no_answers_is_an_error(tiny, tmp_path, make):
    with pytest.raises(InputError, match="there is no bundle"):
        verify(Candidate(bundle=tmp_path / "no"), [], painted(tmp_path / "crops"))
    with pytest.raises(InputError, match="without a timed baseline"):
        verify(
            Candidate(bundle=tiny.path), [], painted(tmp_path / "c1"), gates=Gates(min_ratio=2.0)
        )
    with pytest.raises(RunError, match="reference"):
        verify(
            Candidate(bundle=tiny.path, input_size=(7, 7)), [], painted(tmp_path / "c2"), **QUICK
        )


def test_without_rounds_answers_are_compared_and_nothing_is_timed(tiny, tmp_path):
    report = verify(
        Candidate(bundle=tiny.path),
        [
            Candidate(bundle=tiny.path, streams=2),
            Candidate(bundle=tiny.path, runtime="tensorrt", precision="auto"),
        ],
        painted(tmp_path / "crops"),
        rounds=0,
        batches=(1, 3),
    )
    plain, engine = report.candidates
    assert plain.status == "passed"
    assert plain.accuracy.cosine_min > 0.99999
    assert plain.speed == ()
    assert report.fastest() is None
    # neither TensorRT nor a GPU here: a row that says so, whichever is told first
    if engine.status != "passed":
        assert engine.status == "failed"
        assert "tensorrt" in engine.reasons[0].lower()
    with pytest.raises(InputError, match="min_ratio"):
        verify(
            Candidate(bundle=tiny.path),
            [],
            painted(tmp_path / "crops"),
            gates=Gates(min_ratio=1.0),
            baseline=Candidate(bundle=tiny.path, runtime="onnxruntime-plain"),
            rounds=0,
        )


def test_engines_of_gpus_are_candidates_where_they_run(tiny, monkeypatch):
    monkeypatch.setattr(settings, "gpu_runtimes", lambda: ["tensorrt"])
    found = settings.combinations(tiny, precisions=("f32",), threads=(1, 2), streams=(1, 3))
    on_gpu = [each for each in found if each.runtime == "tensorrt"]
    assert [(each.precision, each.threads, each.streams) for each in on_gpu] == [
        ("auto", 0, 1),
        ("auto", 0, 3),
    ]
    assert settings.reference_for(tiny).runtime == "onnxruntime"
    monkeypatch.setattr(settings, "quantises_while_running", lambda bundle: True)
    assert "tensorrt" not in settings.engines_for(tiny)
