"""The whole turn: watch, harvest, train, build, swap what came out into a live run."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
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
        "BESIDE": "15",
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
    told = re.findall(r"^(?:before|after) +([0-9.]+) +([0-9.]+)$", done.stdout, re.M)
    before, after = (tuple(map(float, figures)) for figures in told)
    for was, became in zip(before, after, strict=True):
        assert 0.4 < was <= 1
        assert became > was - 0.15  # two epochs teach little, and must not destroy
    runs = [json.loads((out / name / "run.json").read_text()) for name in ("before", "after")]
    old, new = (run["models"]["embedder"]["model_id"] for run in runs)
    assert old != new
    lines = (out / "live" / "events.jsonl").read_text().splitlines()
    (told,) = (each for each in map(json.loads, lines) if each["type"] == "model")
    assert (told["state"], told["old"], told["new"]) == ("swapped", old, new)
    _ids_survived(out / "live", told["time_ns"], new)
    crops = (out / "next" / "crops.jsonl").read_text().splitlines()
    assert all((out / "next" / json.loads(line)["file"]).is_file() for line in crops)
    assert crops


def _ids_survived(live: Path, swapped_ns: int, model_id: str) -> None:
    """Nobody got an id that was given before, and the new model keeps people under their ids."""
    told = [json.loads(line) for line in (live / "events.jsonl").read_text().splitlines()]
    new = [each for each in told if each["type"] == "identity" and each["kind"] == "new"]
    ids = [each["global_id"] for each in new]
    assert len(set(ids)) == len(ids)
    before = {each["global_id"] for each in new if each["time_ns"] < swapped_ns}
    with closing(sqlite3.connect(f"file:{live / 'gallery.db'}?mode=ro", uri=True)) as gallery:
        kept = {
            row[0]
            for row in gallery.execute(
                "SELECT DISTINCT global_id FROM tracklets WHERE model_id = ? AND start_ns < ?",
                (model_id, swapped_ns),
            )
        }
    assert kept
    assert kept <= before


def test_the_example_says_what_it_wants(tmp_path: Path) -> None:
    for words, said in (([], "FOLDER must not exist"), ([str(tmp_path)], "is there already")):
        asked = subprocess.run([str(SCRIPT), *words], capture_output=True, text=True)
        assert asked.returncode == 2
        assert said in asked.stderr
