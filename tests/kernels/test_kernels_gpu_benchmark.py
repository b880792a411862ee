"""The GPU benchmark's logic, on the CPU: checks, rows, families, budget."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ["--tiny", "--device", "cpu"]
FAMILIES = sorted(
    p.stem
    for p in (BENCHMARKS / "gpu_cases").glob("*.py")
    if p.stem not in ("__init__", "protocol")
)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_measure
    import kernels_gpu
    from gpu_cases import protocol

    return kernels_gpu, gpu_measure, protocol


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_cases_of_every_family_are_right(
    modules: Any, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    arguments = ["--only", family, "--rounds", "1", "--output", str(output)]
    status = modules[0].main([*TINY, *arguments])
    assert status == 0, capsys.readouterr().out
    result = json.loads(output.read_text())
    assert result["cases"]
    assert not result["left_out"]
    for case in result["cases"]:
        ours = [row for row in case["rows"] if row["provider"] == "crosscam"]
        assert len(ours) == 1
        assert 0 < ours[0]["ms_p20"] <= ours[0]["ms_p50"] <= ours[0]["ms_p80"]
        assert ours[0]["times_crosscam"] == 1


PEERS = {
    "batch_hard": {"torch eager", "pytorch-metric-learning"},
    "camera_adversarial": {"torch eager"},
    "crop": {"torch loop"},
    "memory": {"torch eager", "torch chunked", "pytorch-metric-learning", "Python loop"},
    "normalise": {"torch eager"},
    "retrieval": {"torch sort"},
    "similarity": {"torch eager", "torch chunked", "faiss", "flashlib"},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_peers_and_all_others_are_there_and_right(
    modules: Any, family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(modules[2], "COMPILED_ON", {"cpu"})
    output = tmp_path / "result.json"
    arguments = ["--only", family, "--rounds", "1", "--output", str(output)]
    assert modules[0].main([*TINY, *arguments]) == 0
    cases = json.loads(output.read_text())["cases"]
    assert not [case["wrong"] for case in cases if case["wrong"]]
    measured = {row["provider"] for case in cases for row in case["rows"]}
    absent = {name for case in cases for name in case["missing"]}
    assert {"crosscam", "torch.compile"} | PEERS[family] <= measured | absent
    assert {"crosscam", "torch.compile"} <= measured


def test_pytorch_metric_learning_is_left_out_where_it_would_not_fit(modules: Any) -> None:
    from gpu_cases import memory

    bank, targets = torch.ones(100_000, 1), torch.zeros(1024, dtype=torch.int64)
    pytest.importorskip("pytorch_metric_learning")
    assert "1e+11 numbers" in memory.metric_learning(bank, targets, 1024)


def test_no_case_begins_that_would_end_too_late(
    modules: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernels_gpu, _, protocol = modules
    now = [0.0]

    def takes(seconds: float) -> Any:
        def prepare() -> Any:
            now[0] += seconds
            return protocol.Sides({"crosscam": lambda: None}, lambda name, found: None)

        return prepare

    cases = [
        protocol.Case(f"{n}", {}, "float32", takes(30.0), bytes_moved=1, flops=0) for n in range(4)
    ]
    family = type("Module", (), {"cases": staticmethod(lambda device, tiny: cases)})
    monkeypatch.setattr(kernels_gpu.importlib, "import_module", lambda name: family)
    monkeypatch.setattr(kernels_gpu, "families", lambda only: ["one"])
    monkeypatch.setattr(kernels_gpu, "time", SimpleNamespace(monotonic=lambda: now[0]))
    output = tmp_path / "result.json"
    assert kernels_gpu.main([*TINY, "--budget", "80", "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert [case["rows"][0]["op"] for case in result["cases"]] == ["0", "1"]  # 60 s; a third: 90 s
    assert [label.split()[0] for label in result["left_out"]] == ["2", "3"]


def test_beyond_the_budget_every_side_turns_once(modules: Any) -> None:
    kernels_gpu, gpu_measure, protocol = modules
    calls = []
    sides = protocol.Sides({"crosscam": lambda: calls.append(1)}, lambda name, found: None)
    case = protocol.Case("op", {}, "float32", lambda: sides, bytes_moved=1, flops=0)
    roofs, counts = gpu_measure.Roofs(1.0), []
    for deadline in (0.0, float("inf")):
        kernels_gpu.measure(case, torch.device("cpu"), roofs, rounds=3, deadline=deadline)
        counts.append(len(calls))
    assert counts[0] - 1 == (counts[1] - counts[0] - 1) / 3  # one call of each is the check


def test_no_time_left_means_no_case(modules: Any, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    arguments = ["--only", "similarity", "--budget", "0", "--output", str(output)]
    assert modules[0].main([*TINY, *arguments]) == 0
    result = json.loads(output.read_text())
    assert result["left_out"]
    assert not result["cases"]


def test_an_unknown_family_is_named(modules: Any) -> None:
    with pytest.raises(SystemExit, match="no_such_family"):
        modules[0].main([*TINY, "--only", "no_such_family"])


def test_a_wrong_side_is_reported_and_not_timed(modules: Any) -> None:
    kernels_gpu, gpu_measure, protocol = modules
    calls = {"crosscam": 0, "liar": 0, "broken": 0}

    def side(name: str) -> Any:
        def run() -> str:
            calls[name] += 1
            if name == "broken":
                raise RuntimeError("no kernel")
            return name

        return run

    def check(name: str, found: str) -> None:
        if found == "liar":
            raise protocol.WrongAnswerError("off by one")

    def prepare() -> Any:
        return protocol.Sides({n: side(n) for n in calls}, check, {"peer": "not installed"})

    case = protocol.Case("op", {"N": 3}, "float32", prepare, bytes_moved=2_000_000, flops=4_000_000)
    roofs = gpu_measure.Roofs(1.0, {"float32": 1e-3})
    result = kernels_gpu.measure(case, torch.device("cpu"), roofs, rounds=2)
    assert [row["provider"] for row in result["rows"]] == ["crosscam"]
    assert result["wrong"] == {
        "liar": "WrongAnswerError: off by one",
        "broken": "RuntimeError: no kernel",
    }
    assert calls["liar"] == calls["broken"] == 1
    assert result["missing"] == {"peer": "not installed"}
    assert result["rows"][0]["floor_ms"] == 4.0  # compute: 4e6 / 1e9; memory: 2e6 / 1e9 s


def test_what_fails_is_told_and_stops_nothing(
    modules: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kernels_gpu, _, protocol = modules
    calls = iter(range(100))

    def sides(run: Any) -> Any:
        return lambda: protocol.Sides({"crosscam": run}, lambda name, found: None)

    def out_of_memory() -> None:
        raise RuntimeError("out of memory")

    def later() -> None:  # right when it is checked, broken when it is timed
        if next(calls) > 0:
            out_of_memory()

    made = {
        "prepares not": out_of_memory,
        "breaks later": sides(later),
        "fine": sides(lambda: None),
    }
    cases = [
        protocol.Case(name, {}, "float32", prepare, bytes_moved=1, flops=0)
        for name, prepare in made.items()
    ]
    good = type("Module", (), {"cases": staticmethod(lambda device, tiny: cases)})

    def load(name: str) -> Any:
        if name.endswith("broken"):
            raise ImportError("no such operator")
        return good

    monkeypatch.setattr(kernels_gpu.importlib, "import_module", load)
    monkeypatch.setattr(kernels_gpu, "families", lambda only: ["broken", "good"])
    output = tmp_path / "result.json"
    assert kernels_gpu.main([*TINY, "--output", str(output)]) == 1
    result = json.loads(output.read_text())
    failed = {name.strip().split()[0]: reason for name, reason in result["failed"].items()}
    assert failed == {
        "broken": "ImportError: no such operator",
        "prepares": "RuntimeError: out of memory",
    }
    later_case, fine = result["cases"]
    assert later_case["wrong"] == {"crosscam": "RuntimeError: out of memory"}
    assert not later_case["rows"]
    assert fine["rows"][0]["op"] == "fine"
    assert "failed: broken: ImportError" in capsys.readouterr().out


def test_families_take_turns(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels_gpu, _, protocol = modules

    def family(name: str, count: int) -> Any:
        case = protocol.Case(name, {}, "float32", lambda: None, bytes_moved=1, flops=0)
        return type("Module", (), {"cases": staticmethod(lambda device, tiny: [case] * count)})

    found = {"gpu_cases.a": family("a", 3), "gpu_cases.b": family("b", 1)}
    monkeypatch.setattr(kernels_gpu.importlib, "import_module", found.__getitem__)
    order = [n for n, _ in kernels_gpu.all_cases(["a", "b"], torch.device("cpu"), True, {})]
    assert order == ["a", "b", "a", "a"]


def test_sides_without_ours_are_refused(modules: Any) -> None:
    with pytest.raises(ValueError, match="lack 'crosscam'"):
        modules[2].Sides({"peer": int}, lambda name, found: None)


def test_wrong_tensors_are_wrong(modules: Any) -> None:
    protocol = modules[2]
    protocol.assert_close(torch.ones(2), torch.ones(2), rtol=0, atol=0)
    with pytest.raises(protocol.WrongAnswerError):
        protocol.assert_close(torch.tensor([1.0, 2.0]), torch.ones(2), rtol=0, atol=0.5)
