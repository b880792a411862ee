"""`crosscam build` for GPUs: plans, graphs, engines built here or there, and what is kept."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_tensorrt import FakeTensorRTX
from fake_tensorrt_run import Machine
from test_deploy_building import report, run
from verify_parts import paint_crops

from crosscam_deploy.building import TARGETS, Plan, build, engine_ways, find_target, make_plan
from crosscam_deploy.building import engines as building_engines
from crosscam_deploy.building import graphs as building_graphs
from crosscam_deploy.building import run as building_run
from crosscam_deploy.building import targets as building_targets
from crosscam_deploy.building.engine_ways import NOT_RUN, RUN, THERE
from crosscam_deploy.building.graphs import make_graphs
from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.engines import Device, EngineStore, TensorRT
from crosscam_deploy.engines.beside import engines_beside, store_beside
from crosscam_deploy.engines.unsigned_pairs import unsigned_pairs
from crosscam_deploy.manifest import EngineFor
from crosscam_deploy.precision.calibration import divide
from crosscam_deploy.precision.found import Lowered
from crosscam_deploy.verify import Candidate, Report, Row, VerifyData, engine_rows, settings
from crosscam_deploy.verify.engine_rows import facts
from crosscam_kernels.errors import InputError, RunError, UsageError

GPUS = [target.name for target in TARGETS if target.is_gpu and target.name != "gpu"]
ADA = Device("RTX 4000", "8.9", "13.0")
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX not installed"
)


class Here:
    """What this machine has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device: Device | None = None
        self.module = FakeTensorRTX("1.7.1.116")
        self.installed: set[str] = {"tensorrt-rtx"}
        for module in (engine_ways, building_targets, engine_rows):
            monkeypatch.setattr(module, "find_device", lambda: self.device)
        for module in (engine_ways, building_engines, engine_rows):
            monkeypatch.setattr(module, "find_tensorrt", self.find)
        monkeypatch.setattr(engine_ways, "is_installed", lambda flavour: flavour in self.installed)
        monkeypatch.setattr(settings, "gpu_runtimes", list)

    def find(self, flavour: Any) -> TensorRT:
        if flavour not in self.installed:
            raise RunError(f"{flavour} is not installed", fix="install it")
        return TensorRT(flavour, self.module, "1.7.1.116")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(monkeypatch)


class TestPlan:
    @pytest.mark.parametrize("name", GPUS)
    def test_every_gpu_has_a_plan_that_says_what_is_not_done(self, tiny, here, name):
        plan = make_plan(tiny, find_target(name))
        plan.check()
        assert [step.precision for step in plan.steps] == ["f32", "f16", "int8"]
        assert all(step.ways == (("onnxruntime", "f32"),) for step in plan.steps)
        assert not plan.timed
        where = {way.flavour: way.where for way in plan.engines}
        rtx = {"tensorrt-rtx": NOT_RUN} if name.startswith("rtx") else {}
        assert where == {"tensorrt": THERE} | rtx
        text = "\n".join(plan.lines())
        assert f"{name} (" in text
        assert "there is no CUDA device here" in text
        assert "none of them runs here" in text

    def test_engines_are_built_here_only_for_gpus_that_are_offered(self, tiny, here):
        here.module.ComputeCapability = type("Offered", (), {"SM120": 1})
        (way, _) = make_plan(tiny, find_target("rtx-40")).engines
        assert (way.where, way.options.capabilities) == (THERE, ())
        assert "8.9 on such a GPU only" in way.why
        (way, _) = make_plan(tiny, find_target("rtx-50")).engines
        assert (way.where, way.options.capabilities) == (NOT_RUN, ("12.0",))
        here.installed = set()
        (way, _) = make_plan(tiny, find_target("rtx-50")).engines
        assert (way.where, way.why) == (THERE, "tensorrt-rtx is not installed")

    def test_on_such_a_gpu_engines_run(self, tiny, here):
        here.device = ADA
        for target in ("rtx-40", "gpu"):
            plan = make_plan(tiny, find_target(target))
            assert [way.where for way in plan.engines] == [RUN]
            assert plan.timed
            assert {way for step in plan.steps for way in step.ways} == {("tensorrt-rtx", "auto")}
            assert plan.engines[0].options.capabilities == ()
        assert "RTX 4000, compute capability 8.9" in "\n".join(plan.lines())
        other = make_plan(tiny, find_target("rtx-50"))
        assert "RTX 4000 here has compute capability 8.9" in other.engines[0].why

    def test_more_precisions_where_the_gpu_has_them(self, tiny, here):
        plan = make_plan(tiny, find_target("rtx-40"), ("fp8", "bf16"))
        assert [step.precision for step in plan.steps] == ["fp8", "bf16"]
        assert "fp8   convolutions and products in fp8" in "\n".join(plan.lines())
        make_plan(tiny, find_target("jetson-orin"), ("bf16",))
        for name, precision in (("jetson-orin", "fp8"), ("cpu", "bf16")):
            with pytest.raises(UsageError, match=f"{precision} is not built for {name}"):
                make_plan(tiny, find_target(name), (precision,))

    def test_this_machines_gpu_must_be_there(self, tiny, here):
        with pytest.raises(RunError, match="no CUDA device"):
            make_plan(tiny, find_target("gpu"))

    def test_options_reach_engines_and_those_of_rtx_only_where_it_knows_them(self, tiny, here):
        told = EngineFor(buckets=(2, 6), hardware="ampere-and-later", version_compatible=True)
        rtx, plain = make_plan(tiny, find_target("rtx-40"), told=told).engines
        assert (rtx.options.buckets, rtx.options.hardware) == ((2, 6), "this")
        assert plain.options.hardware == "ampere-and-later"
        assert plain.options.version_compatible

    def test_what_is_not_onnx_is_refused(self, tiny, here):
        ir = Bundle(tiny.path, tiny.manifest.model_copy(update={"format": "openvino"}))
        with pytest.raises(RunError, match="TensorRT reads ONNX only"):
            make_plan(ir, find_target("h200")).check()


class Answers:
    """Stands for `verify`: everything is answered as it should, but for what is refused."""

    def __init__(self, *, refused: Sequence[str] = ()) -> None:
        self.refused, self.asked = refused, {}
        self.graphs: list[Any] = []

    def __call__(self, reference: Candidate, candidates: Any, data: Any, **asked: Any) -> Report:
        self.asked = asked
        rows = [self.row(reference, "reference")]
        for each in candidates:
            rows.append(self.row(each, "candidate"))
            self.graphs.append(onnx.load(load_bundle(each.bundle).model_path))
        empty = report(("f32", "f32", 1, "passed"))
        return empty.model_copy(update={"rows": tuple(rows), "rounds": asked["rounds"]})

    def row(self, candidate: Candidate, role: Any) -> Row:
        bundle = load_bundle(candidate.bundle)
        bad = bundle.manifest.precision in self.refused
        return Row(
            role=role,
            candidate=candidate,
            model=bundle.manifest.name,
            model_id=bundle.model_id,
            graph_precision=bundle.manifest.precision,
            status="refused" if bad else "passed",
            reasons=("because",) if bad else (),
        )


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[tuple[Path, ...], VerifyData]:
    return divide(VerifyData(crops=(paint_crops(tmp_path / "crops", people=8),)), 0.5)


def built(
    plan: Plan, pictures: Any, out: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> Any:
    monkeypatch.setattr(building_run, "verify", answers)
    files, data = pictures
    return build(plan, data, files, out)


class TestUntimed:
    def test_every_precision_is_kept_with_its_engine(
        self, tiny, here, pictures, tmp_path, monkeypatch
    ):
        plan = make_plan(tiny, find_target("rtx-40"))
        answers = Answers()
        out = tmp_path / "out"
        found = built(plan, pictures, out, monkeypatch, answers)
        assert (answers.asked["rounds"], answers.asked["baseline"]) == (0, None)
        assert len(answers.graphs) == 2, "the model is not compared with itself"
        assert not any(unsigned_pairs(graph) for graph in answers.graphs)
        half = [(t.data_type == 10) for graph in answers.graphs for t in graph.graph.initializer]
        assert not any(half), "what is asked is the emulation, in float32"
        bundles = [found.bundle, *found.others]
        assert [b.path.name for b in bundles] == ["out", "out-f32", "out-int8"]
        assert [b.manifest.precision for b in bundles][:2] == ["f16", "f32"]
        for bundle in bundles:
            chosen = load_bundle(bundle.path).manifest.run_with
            assert chosen is not None
            assert (chosen.runtime, chosen.measured) == ("tensorrt-rtx", False)
            (engine,) = engines_beside(bundle)
            assert engine.manifest.options.capabilities == ("8.9",)
            assert engine.manifest.options.buckets == (1, 4, 8, 16, 32, 64)
            assert engine.manifest.plan_sha256 in chosen.engine.plans
            assert engine.manifest.model_id == bundle.model_id
            assert engine.manifest.layers is None, "nothing was opened"
            model = onnx.load(bundle.model_path)
            kinds = {tensor.data_type for tensor in model.graph.initializer}
            assert (onnx.TensorProto.FLOAT16 in kinds) == (bundle is not bundles[1])
        assert bundles[1].model_id == tiny.model_id
        compared = found.report.rows[1:3]
        assert [row.model_id for row in compared] == [bundles[0].model_id, bundles[2].model_id]
        assert all(row.how() == "ONNX Runtime f32, 16 bits emulated" for row in compared)
        assert [row.file_bytes for row in compared] == [
            bundle.model_path.stat().st_size for bundle in (bundles[0], bundles[2])
        ]
        rows = [row for row in found.report.rows if row.status == "built"]
        assert [row.graph_precision for row in rows] == [b.manifest.precision for b in bundles]
        assert all(row.accuracy is None and row.speed == () for row in rows)
        assert here.module.configs[0].capabilities == ["SM89"]
        assert not list(tmp_path.glob(".out.*"))
        with pytest.raises(InputError, match="exists already"):
            built(plan, pictures, tmp_path / "out", monkeypatch, answers)

    def test_the_manifest_tells_how_much_of_a_mixed_graph_stays_float(
        self, tiny, pictures, tmp_path, monkeypatch
    ):
        plan = make_plan(tiny, find_target("rtx-40"), ("int8", "f16"))
        model = onnx.load(tiny.model_path)

        def search(*_: Any, precision: Any, **__: Any) -> list[Lowered]:
            return [Lowered(model, precision, "somehow", ("one", "two"), 0.5, {})]

        monkeypatch.setattr(building_graphs, "search", search)
        made = make_graphs(plan, pictures[0], tmp_path, lambda *_: None)
        told = {each.step.precision: each.bundle.manifest for each in made}
        assert (told["int8"].precision, told["int8"].float_nodes) == ("mixed", 2)
        assert (told["f16"].precision, told["f16"].float_nodes) == ("f16", 0)

    def test_what_is_refused_gets_no_engine(self, tiny, here, pictures, tmp_path, monkeypatch):
        plan = make_plan(tiny, find_target("rtx-40"))
        answers = Answers(refused=("f16", "mixed", "int8"))
        found = built(plan, pictures, tmp_path / "out", monkeypatch, answers)
        assert (found.bundle.manifest.precision, found.others) == ("f32", ())
        assert len(here.module.networks) == 1
        plan = make_plan(tiny, find_target("rtx-40"), ("f16",))
        with pytest.raises(RunError, match="nothing that was built may be used"):
            built(plan, pictures, tmp_path / "none", monkeypatch, answers)
        assert not (tmp_path / "none").exists()

    def test_an_engine_that_cannot_be_built_is_a_row_and_the_graph_is_kept(
        self, tiny, here, pictures, tmp_path, monkeypatch
    ):
        here.module.out_of_memory = True
        plan = make_plan(tiny, find_target("rtx-40"), ("f16",))
        found = built(plan, pictures, tmp_path / "out", monkeypatch, Answers())
        (row,) = [row for row in found.report.rows if row.status == "failed"]
        assert "OutOfMemory" in row.reasons[0]
        assert found.bundle.manifest.run_with.engine.plans == ()
        assert not store_beside(found.bundle.path).root.exists()

    def test_where_nothing_builds_the_bundle_tells_the_box_how(
        self, tiny, here, pictures, tmp_path, monkeypatch
    ):
        told = EngineFor(buckets=(1, 3), hardware="same-capability")
        plan = make_plan(tiny, find_target("jetson-orin"), ("f16", "int8"), told)
        found = built(plan, pictures, tmp_path / "out", monkeypatch, Answers())
        assert here.module.networks == []
        for bundle in (found.bundle, *found.others):
            chosen = bundle.manifest.run_with
            assert (chosen.runtime, chosen.measured) == ("tensorrt", False)
            assert chosen.engine == told
        assert not [row for row in found.report.rows if row.engine]


def test_the_engine_that_was_fastest_travels_with_the_bundle(
    tiny, here, pictures, tmp_path, monkeypatch
):
    """On a GPU like the target's: the engine that `verify` measured is in the cache's store."""
    here.device, here.installed = ADA, {"tensorrt"}
    machine = Machine(tmp_path)
    store = EngineStore()

    class Timed(Answers):
        def row(self, candidate: Candidate, role: Any) -> Row:
            plain = super().row(candidate, role)
            if role == "reference":
                return plain
            machine.store = store
            engine = machine.build(load_bundle(candidate.bundle), buckets=(1, 4))
            speed = {"f32": 100, "f16": 300}.get(plain.graph_precision, 200)
            (timed,) = report(("f32", "f32", speed, "passed")).rows
            return plain.model_copy(update={"engine": facts(engine.manifest), "speed": timed.speed})

    plan = make_plan(tiny, find_target("rtx-40"))
    assert plan.timed
    answers = Timed()
    found = built(plan, pictures, tmp_path / "out", monkeypatch, answers)
    assert answers.asked["rounds"] == 5
    assert answers.asked["limit_s"] > 600, "engines are built while it waits"
    assert (found.bundle.manifest.precision, found.others) == ("f16", ())
    chosen = found.bundle.manifest.run_with
    assert (chosen.runtime, chosen.measured) == ("tensorrt", True)
    (engine,) = engines_beside(found.bundle)
    assert engine.manifest.plan_sha256 == found.row.engine.plan_sha256
    assert len(list(store)) == 3


class TestCommand:
    def test_several_models_and_targets_are_planned_in_turn(self, tiny, here, capsys):
        code, said, _ = run(
            capsys, "build", str(tiny.path), "--target", "rtx-40", "--target", "cpu", "--plan"
        )
        assert code == 0
        assert said.index("tiny for rtx-40") < said.index("tiny for cpu")

    def test_one_that_fails_does_not_stop_the_others(self, tiny, here, tmp_path, capsys):
        code, said, told = run(
            capsys, "build", str(tiny.path), "--target", "gpu", "--target", "jetson-orin", "--plan"
        )
        assert code == RunError.exit_code
        assert "tiny for jetson-orin" in said
        assert "tiny-gpu: this machine has no CUDA device" in told

    @pytest.mark.parametrize("buckets", ["0", "1,x", "", ",".join(map(str, range(1, 18)))])
    def test_wrong_buckets(self, tiny, here, capsys, buckets):
        code, _, told = run(capsys, "build", str(tiny.path), "--buckets", buckets)
        assert code == 2
        assert "numbers from 1 to 4096" in told

    def test_options_of_engines_are_not_for_processors(self, tiny, here, capsys):
        code, _, told = run(capsys, "build", str(tiny.path), "--version-compatible")
        assert code == 2
        assert "--version-compatible for cpu" in told

    def test_buckets_are_those_of_the_plan(self, tiny, here, capsys):
        args = ["build", str(tiny.path), "--target", "rtx-50", "--buckets", "8,2", "--plan"]
        code, said, _ = run(capsys, *args)
        assert code == 0
        assert "engines for 2, 8 crops are built here and not run" in said


@needs_rtx
@pytest.mark.slow
def test_built_from_end_to_end_with_the_real_builder(tiny, tmp_path, capsys):
    crops = tmp_path / "crops"
    paint_crops(crops, people=8)
    out = tmp_path / "out"
    args = ["build", str(tiny.path), "--crops", str(crops), "-o", str(out), "--target", "rtx-40"]
    loose = ["--gate", "max_rank1_drop=off", "--gate", "max_mean_ap_drop=off"]
    code, said, _ = run(capsys, *args, *loose, "--buckets", "1,4")
    assert code == 0, said
    assert "built, not run" in said
    assert "nothing ran on GeForce RTX 40" in said
    for name, kind in (("out", "f16"), ("out-f32", "f32"), ("out-int8", "int8")):
        bundle = load_bundle(tmp_path / name)
        (engine,) = engines_beside(bundle)
        assert engine.manifest.products is not None
        assert kind in engine.manifest.products
        assert (tmp_path / f"{name}.verify.json").exists()
    code, said, _ = run(capsys, "models", "show", str(out))
    assert "compute capability 8.9" in said
    assert "f16 1 products, as read" in said
