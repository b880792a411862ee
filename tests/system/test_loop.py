"""The whole turn: watch, harvest, train, use what came out; every step is a command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crosscam_edge.cli import main


def run(*args: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    assert left.value.code == 0, args


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_recordings_to_a_model_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("CROSSCAM_MODELS", "")
    site, first, pictures = tmp_path / "site", tmp_path / "first", tmp_path / "pictures"
    run("simulate", "-o", site, "--people", 8, "--cameras", 3, "--seconds", 40, "--seed", 11)
    no = ("--no-video", "--no-report", "--no-crops")
    run("process", "-c", site / "site.yaml", "-o", first, *no)
    run("harvest", first, "-o", pictures)
    run("data", "check", pictures)
    run(
        "train", "own-site", f"data.path={pictures}", "--output", tmp_path / "mine",
        "method.epochs=2", "method.prompts.epochs=1", "method.intra.epochs=1",
        "method.cfm.start=1", "method.ical.adv_window=[1,null]",
    )  # fmt: skip
    bundle = tmp_path / "mine" / "seed-0" / "last.bundle"
    second = tmp_path / "second"
    run("process", "-c", site / "site.yaml", "-o", second, "--embedder", bundle, *no)
    capsys.readouterr()
    scores = []
    for out in (first, second):
        run("eval", "mtmc", site, out, "--json")
        scores.append(json.loads(capsys.readouterr().out))
    models = [json.loads((out / "run.json").read_text())["models"] for out in (first, second)]
    assert models[0]["embedder"]["model_id"] != models[1]["embedder"]["model_id"]
    found = [score["cross_camera"]["IDF1"] for score in scores]
    assert found[1] > found[0] - 0.15  # two epochs teach little, and must not destroy


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_example_goes_round(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = Path(__file__).parents[2] / "examples" / "loop.sh"
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    small = {"PEOPLE": "8", "CAMERAS": "3", "SECONDS_OF_VIDEO": "40", "BESIDE": "5"}
    done = subprocess.run(
        [
            str(script), str(tmp_path / "loop"), "method.epochs=2", "method.prompts.epochs=1",
            "method.intra.epochs=1", "method.cfm.start=1", "method.ical.adv_window=[1,null]",
        ],
        env=os.environ | small | {"PATH": tools, "CROSSCAM_MODELS": ""},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "swapped: " in done.stdout
    before, after = (
        float(value) for value in re.findall(r"^(?:before|after) +([0-9.]+)$", done.stdout, re.M)
    )
    assert after > before - 0.15  # two epochs teach little, and must not destroy
    again = subprocess.run([str(script), str(tmp_path / "loop")], capture_output=True, text=True)
    assert again.returncode == 2
    assert "is there already" in again.stderr
