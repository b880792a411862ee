"""The whole turn: watch, harvest, train, build, swap what came out into a live run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "loop.sh"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_example_goes_round(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "loop"
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    small = {
        "PEOPLE": "8",
        "CAMERAS": "2",
        "SECONDS_OF_VIDEO": "24",
        "FPS": "5",
        "BESIDE": "5",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [
            str(SCRIPT), str(out), "method.epochs=2", "method.prompts.epochs=1",
            "method.intra.epochs=1", "method.cfm.start=1", "method.ical.adv_window=[1,null]",
            "batch.people=8",
        ],
        env=os.environ | small | {"PATH": tools, "CROSSCAM_MODELS": ""},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    before, after = (
        float(value) for value in re.findall(r"^(?:before|after) +([0-9.]+)$", done.stdout, re.M)
    )
    assert after > before - 0.15  # two epochs teach little, and must not destroy
    runs = [json.loads((out / name / "run.json").read_text()) for name in ("before", "after")]
    old, new = (run["models"]["embedder"]["model_id"] for run in runs)
    assert old != new
    lines = (out / "live" / "events.jsonl").read_text().splitlines()
    (told,) = (each for each in map(json.loads, lines) if each["type"] == "model")
    assert (told["state"], told["old"], told["new"]) == ("swapped", old, new)


def test_the_example_says_what_it_wants(tmp_path: Path) -> None:
    for words, said in (([], "FOLDER must not exist"), ([str(tmp_path)], "is there already")):
        asked = subprocess.run([str(SCRIPT), *words], capture_output=True, text=True)
        assert asked.returncode == 2
        assert said in asked.stderr
