"""`crosscam_deploy.building`: plans, what is built by them, and which of it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from verify_parts import paint_crops

from crosscam_deploy.building import TARGETS, build, find_target, make_plan
from crosscam_deploy.building import plan as planning
from crosscam_deploy.building.graphs import make_graphs
from crosscam_deploy.building.run import choose
from crosscam_deploy.bundle import load_bundle, write_bundle
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import compute_model_id
from crosscam_deploy.precision.calibration import divide, load
from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.text_tower import GRAPH, MERGES, has_text
from crosscam_deploy.verify import (
    Candidate,
    Crop,
    CropSet,
    FrameSet,
    Gates,
    Report,
    Row,
    Speed,
    VerifyData,
)
from crosscam_deploy.verify.types import DataSummary, Machine
from crosscam_edge.cli import cli, main
from crosscam_edge.cli.build import _TARGETS
from crosscam_kernels.errors import InputError, RunError, UsageError


def run(capsys, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(list(args))
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


class TestPlan:
    def test_a_processor_gets_every_graph_in_every_engine(self, tiny):
        plan = make_plan(tiny, find_target("cpu"))
        assert [step.precision for step in plan.steps] == ["f32", "f16", "int8"]
        for step in plan.steps:
            assert {engine for engine, _ in step.ways} == {"onnxruntime", "openvino"}
        text = "\n".join(plan.lines())
        assert "tiny for cpu" in text
        assert "OpenVINO f32" in text
        plan.check()

    def test_only_what_was_asked_for(self, tiny):
        plan = make_plan(tiny, find_target("cpu"), ("int8",))
        assert [step.precision for step in plan.steps] == ["int8"]
        with pytest.raises(UsageError, match="bf16 is not built"):
            make_plan(tiny, find_target("cpu"), ("bf16",))

    def test_another_processor_is_refused(self, tiny, tmp_path, monkeypatch):
        told = tmp_path / "cpuinfo"
        told.write_text("processor : 0\nflags : fpu avx2\n")
        monkeypatch.setattr(planning, "_CPU_INFO", told)
        with pytest.raises(RunError, match="lacks avx512f, avx512_vnni"):
            make_plan(tiny, find_target("cpu-avx512")).check()
        told.write_text("processor : 0\nflags : fpu avx2 avx512f avx512_vnni\n")
        make_plan(tiny, find_target("cpu-avx512")).check()

    def test_the_command_knows_all_targets(self):
        assert tuple(target.name for target in TARGETS) == _TARGETS
        with pytest.raises(UsageError, match="no target 'toaster'"):
            find_target("toaster")


class TestCalibration:
    def test_nobody_is_both_calibrated_with_and_judged_on(self, tmp_path):
        crops = paint_crops(tmp_path, people=8)
        files, rest = divide(VerifyData(crops=(crops,)), 0.25)
        people = {path.parent.name for path in files}
        left = {crop.person for crop in rest.crops[0].crops}
        assert len(people) == 2
        assert people | left == {crop.person for crop in crops.crops}
        assert not people & left
        assert divide(VerifyData(crops=(crops,)), 0.25)[0] == files
        assert divide(VerifyData(crops=(crops,)), 0.25, seed=1)[0] != files

    def test_pictures_without_names_are_drawn_one_by_one(self):
        crops = CropSet("plain", tuple(Crop(Path(f"{k}.png")) for k in range(40)))
        files, rest = divide(VerifyData(crops=(crops,)), 0.25)
        assert len(files) == 10
        assert not set(files) & {crop.path for crop in rest.crops[0].crops}

    def test_frames_are_divided_in_time_with_their_boxes(self):
        frames = tuple(Path(f"{k}.png") for k in range(8))
        truth = tuple(np.full((k, 4), k, float) for k in range(8))
        files, rest = divide(VerifyData(frames=(FrameSet("video", frames, truth),)), 0.25)
        assert files == frames[:2]
        assert rest.frames[0].frames == frames[2:]
        assert [len(each) for each in rest.frames[0].truth or ()] == [2, 3, 4, 5, 6, 7]

    def test_too_few_to_divide(self):
        one = CropSet("one", (Crop(Path("a.png")),))
        with pytest.raises(InputError, match="cannot be divided"):
            divide(VerifyData(crops=(one,)), 0.25)

    def test_pictures_are_prepared_as_the_manifest_says_and_bounded(
        self, tiny, tmp_path, monkeypatch
    ):
        picture = np.zeros((64, 32, 3), np.uint8)
        picture[..., 2] = 255  # red, as cv2 writes it
        cv2.imwrite(str(tmp_path / "red.png"), picture)
        found = load(tiny, [tmp_path / "red.png"])
        assert found.batch.shape == (1, 3, 32, 16)
        assert found.batch.mean((2, 3)) == pytest.approx(np.array([[1, 0, 0]]))
        crops = paint_crops(tmp_path / "many", people=8)
        monkeypatch.setattr("crosscam_deploy.precision.calibration.MOST_PICTURES", 20)
        files = [crop.path for crop in crops.crops]
        assert len(load(tiny, files).batch) == 20
        assert np.array_equal(load(tiny, files).batch, load(tiny, files).batch)
        with pytest.raises(InputError, match="no pictures"):
            load(tiny, [])


def report(*rows: tuple[str, str, float, str]) -> Report:
    """A report of rows: graph, computed in, each a second, status."""
    return Report(
        created="now",
        task="embed",
        data=DataSummary(kind="crops", sets={"a": 1}, people=None, labelled=False),
        machine=Machine(processor="p", cores=1, memory_bytes=1, system="s", versions={}, busy=None),
        batches=(1, 8),
        rounds=1,
        gates=Gates(),
        rows=tuple(
            Row(
                role="candidate",
                candidate=Candidate(bundle=Path(graph), runtime="openvino", precision=precision),
                model="m",
                model_id=None,
                graph_precision=graph,
                status=status,
                reasons=("because",) if status == "refused" else (),
                speed=tuple(
                    Speed(
                        batch=batch,
                        calls=1,
                        ms_median=1,
                        ms_p95=1,
                        ms_each=1,
                        each_per_second=each,
                        cpu_ms_each=1,
                        ratio=None,
                    )
                    for batch in (1, 8)
                ),
            )
            for graph, precision, each, status in rows
        ),
    )


class TestChoice:
    def test_the_fastest_that_may_be_used(self):
        found = choose(
            report(
                ("f32", "f32", 100, "passed"),
                ("int8", "f32", 250, "passed"),
                ("mixed", "f32", 400, "refused"),
            )
        )
        assert found.graph_precision == "int8"

    def test_as_fast_and_nearer_to_the_original(self):
        rows = [("int8", "bf16", 102, "passed"), ("int8", "f32", 100, "passed")]
        assert choose(report(*rows)).candidate.precision == "f32"
        found = choose(report(*rows, ("f32", "bf16", 99.5, "passed")))
        assert (found.graph_precision, found.candidate.precision) == ("f32", "bf16")
        assert choose(report(*rows, ("f32", "f32", 90, "passed"))).graph_precision == "int8"

    def test_nothing_may_be_used(self):
        with pytest.raises(RunError, match="because"):
            choose(report(("int8", "f32", 250, "refused")))


@pytest.mark.slow
def test_built_from_end_to_end(tiny, tmp_path, capsys):
    crops = tmp_path / "crops"
    paint_crops(crops, people=8)
    out = tmp_path / "out"
    args = ["build", str(tiny.path), "--crops", str(crops), "-o", str(out), "--precision", "int8"]
    quick = ["--rounds", "1", "--seconds", "0.01", "--batch", "2", "--gate", "max_rank1_drop=off"]
    code, said, _ = run(capsys, *args, *quick, "--gate", "max_mean_ap_drop=off")
    assert code == 0, said
    assert f"wrote {out}" in said
    bundle = load_bundle(out)
    kept = json.loads((tmp_path / "out.verify.json").read_text())
    assert bundle.manifest.run_with is not None
    assert bundle.model_id in [row["model_id"] for row in kept["rows"]]
    rows = {row["graph_precision"] for row in kept["rows"]}
    assert rows == {"f32", "int8"}
    if bundle.manifest.precision == "int8":  # whichever was faster
        assert bundle.manifest.built_from == tiny.model_id
        assert bundle.model_id != tiny.model_id
    with open_runtime(bundle) as runtime:
        assert runtime.name == bundle.manifest.run_with.runtime
    code, _, said = run(capsys, *args)
    assert code == 3
    assert "exists already" in said


@pytest.mark.parametrize("target", ["cpu", "rtx-40"])
def test_fewer_bits_of_pictures_keep_the_words(tiny, tmp_path, target):
    texts = {GRAPH: tmp_path / GRAPH, MERGES: tmp_path / MERGES}
    for name, path in texts.items():
        path.write_bytes(name.encode())
    files = tiny.manifest.files | {name: sha256_file(path) for name, path in texts.items()}
    model = tiny.manifest.model_copy(update={"name": "clip", "files": files})
    told = {"task", "output_names", "preprocessing", "decoder"}
    model_id = compute_model_id(files=files, **{name: getattr(model, name) for name in told})
    source = write_bundle(
        tmp_path / "clip",
        model.model_copy(update={"model_id": model_id}),
        {tiny.manifest.model_file: tiny.model_path} | texts,
    )
    crops = paint_crops(tmp_path / "crops", people=4)
    for words in (source, tiny):
        folder = tmp_path / f"{words.manifest.name}-graphs"
        folder.mkdir()
        plan = make_plan(words, find_target(target), ("f16", "int8"))
        pictures = [crop.path for crop in crops.crops]
        graphs = make_graphs(plan, pictures, folder, lambda *_: None)
        assert {graph.step.precision for graph in graphs} == {"f16", "int8"}
        for graph in graphs:
            bundle = load_bundle(graph.bundle.path)
            assert has_text(bundle) == (words is source)
            assert bundle.manifest.built_from == words.model_id
            for name in texts if words is source else ():
                assert (bundle.path / name).read_bytes() == name.encode()


def test_what_is_judged_on_is_never_calibrated_with(tiny, tmp_path):
    crops = paint_crops(tmp_path / "crops", people=8)
    files = [crop.path for crop in crops.crops]
    plan = make_plan(tiny, find_target("cpu"), ("int8",))
    with pytest.raises(InputError, match="judged on and calibrated with"):
        build(plan, VerifyData(crops=(crops,)), files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_is_printed_and_nothing_done(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, _ = run(capsys, "build", str(tiny.path), "--plan")
    assert code == 0
    assert said.startswith("tiny for cpu")
    assert not (tmp_path / "tiny-cpu").exists()
    assert cli.get_command(None, "build") is not None
