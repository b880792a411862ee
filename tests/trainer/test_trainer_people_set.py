"""Whole sets: the same bytes again, after a stop too; labels, masks and the reader agree."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest
from people_parts import TINY, needs_anny

from crosscam_edge.cli import main
from crosscam_edge.cli import simulate as command
from crosscam_kernels.errors import InputError
from crosscam_trainer.data.masks import LIP, read_mask, with_masks
from crosscam_trainer.data.registry import load
from crosscam_trainer.people import run as module
from crosscam_trainer.people.run import generate
from crosscam_trainer.people.sheet import contact_sheet

pytestmark = needs_anny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people") / "set"
    generate(TINY, root, workers=1)
    assert len(list(root.glob("crops/*/*.jpg"))) > 10
    return root


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_stopped_and_resumed_with_other_processes_it_is_the_same(made: Path, tmp_path: Path):
    root = tmp_path / "set"
    module._open(root, TINY, resume=False, overwrite=False)
    assert module._render_camera(root, 1, TINY) > 0
    # Killed in the middle of camera 2: a picture cut short, no line of it in a table.
    (root / "crops" / "query" / "00005_c2s1_000001_00.jpg").write_bytes(b"\xff\xd8cut")
    (root / ".unfinished" / "c0002-00000.jsonl.part").write_bytes(b'{"file": "cr')
    before = (root / ".unfinished" / "c0001-00000.jsonl").stat().st_mtime_ns
    with pytest.raises(InputError, match="not empty"):
        generate(TINY, root)
    with pytest.raises(InputError, match="other settings"):
        generate(TINY.model_copy(update={"seed": 8}), root, resume=True)
    assert (root / ".unfinished" / "c0001-00000.jsonl").stat().st_mtime_ns == before
    done = generate(TINY, root, workers=2, resume=True)
    assert done.finished
    assert 0 < done.rendered < done.pictures
    here, there = digest(root), digest(made)
    stray = {"crops/query/00005_c2s1_000001_00.jpg"} - set(there)
    assert {k: v for k, v in here.items() if k not in stray} == there
    assert generate(TINY, root, resume=True).rendered == 0


def test_a_stop_before_the_start_leaves_a_set_to_resume(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    done = generate(TINY, tmp_path / "set", workers=1, stop=stop)
    assert not done.finished
    assert done.rendered == 0
    assert (tmp_path / "set" / "config.json").exists()


def test_table_pictures_masks_and_reader_agree(made: Path):
    rows = [json.loads(line) for line in (made / "crops.jsonl").read_text().splitlines()]
    assert len({row["file"] for row in rows}) == len(rows)
    assert {row["file"] for row in rows} == {
        str(p.relative_to(made)) for p in (made / "crops").rglob("*.jpg")
    }
    people = {p["id"]: p for p in json.loads((made / "people.json").read_text())["people"]}
    for row in rows:
        image = cv2.imread(str(made / row["file"]))
        mask = read_mask(made / row["mask"], LIP)
        assert list(image.shape[1::-1]) == row["size"] == list(mask.shape[::-1])
        assert mask.any()
        name = Path(row["file"]).name
        assert name.startswith(f"{row['person']:05d}_{row['camera']}s{row['outfit']}_")
        assert row["caption"] == people[row["person"]]["days"][row["outfit"] - 1]["caption"]
        tested = row["person"] > TINY.people - TINY.tested
        assert tested == ("train" not in row["file"])
    assert not set(people[1]) & {"phenotype", "gender", "age", "skin", "african"}
    data = load(made)
    samples = (*data.train, *data.query, *data.gallery)
    by_name = {str(s.path.relative_to(made)): s for s in samples}
    assert set(by_name) == {row["file"] for row in rows}
    assert all(s.mask is not None and s.mask.exists() for s in by_name.values())
    assert with_masks(data, made / "masks").train == data.train
    for row in rows:
        sample = by_name[row["file"]]
        assert sample.caption == row["caption"]
        assert data.cameras[sample.camera] == row["camera"]
        assert int(data.people[sample.person]) == row["person"]


def test_data_check_finds_it_sound(made: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as done:
        main(["data", "check", str(made)])
    assert done.value.code == 0
    assert "sound" in capsys.readouterr().out


def test_command_writes_a_set_and_its_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / "set"
    with pytest.raises(SystemExit) as done:
        main(
            [
                "simulate", "people", "-o", str(root), "--people", "2", "--cameras", "1",
                "--views", "1", "--frame", "160", "--workers", "1", "--frames", "1",
                "--sheet", str(tmp_path / "sheet.png"), "--json",
            ]
        )  # fmt: skip
    assert done.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["finished"]
    assert told["frames"] == 1
    assert told["rendered"] == told["pictures"] + 1
    assert told["images_per_second"] > 0
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > 100


def test_a_sheet_has_a_row_for_each_person(made: Path, tmp_path: Path):
    contact_sheet(made, tmp_path / "sheet.png", people=3, columns=4, height=64)
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[:2] == (3 * 66 + 2, 4 * 27 + 2)


def test_without_the_extra_the_command_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as done:
        main(["simulate", "people", "-o", str(tmp_path / "x")])
    assert done.value.code == MissingExtra
    assert "crosscam[synth]" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "x", ignore_errors=True)


MissingExtra = 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--people", "0"], "--people 0"),
        (["--outfits", "4"], "--outfits 4"),
        (["--cameras", "2", "--cameras-per-person", "3"], "there are 2 cameras"),
        (["--frame", "10"], "--frame 10"),
        (["--test-share", "1"], "--test-share 1"),
        (["--frames", "-1"], "--frames -1"),
        (["--workers", "0"], "--workers"),
        (["--resume", "--overwrite"], "--resume with --overwrite"),
    ],
)
def test_bad_options_are_named(options, said, tmp_path, capsys):
    root = tmp_path / "set"
    with pytest.raises(SystemExit) as done:
        main(["simulate", "people", "-o", str(root), *options])
    assert done.value.code == 2
    assert said in capsys.readouterr().err
    assert not root.exists()


@pytest.mark.slow
def test_killed_without_warning_it_goes_on_to_the_same_bytes(made: Path, tmp_path: Path):
    """`kill -9` of the command and its processes, while it renders."""
    root = tmp_path / "set"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.model_dump().items()]
    start = "from crosscam_edge.cli import main; main()"
    command = [sys.executable, "-c", start, "simulate", "people", "-o", str(root)]
    running = subprocess.Popen([*command, *options, "--workers", "2"], start_new_session=True)
    deadline = time.monotonic() + 120
    while not any(root.glob("crops/*/*.jpg")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (root / "crops.jsonl").exists()
    again = subprocess.run([*command, *options, "--resume"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert digest(root) == digest(made)


def test_overwrite_replaces_an_earlier_set_and_nothing_else(tmp_path: Path):
    root = tmp_path / "set"
    config = TINY.model_copy(update={"people": 2, "cameras": 1, "cameras_per_person": 1})
    generate(config, root, workers=1)
    (root / "notes.txt").write_text("mine")
    small = config.model_copy(update={"people": 1})
    done = generate(small, root, workers=1, overwrite=True)
    assert done.finished
    assert (root / "notes.txt").read_text() == "mine"
    assert len(list(root.glob("crops/*/*.jpg"))) == done.pictures
    assert {p["id"] for p in json.loads((root / "people.json").read_text())["people"]} == {1}


def test_one_process_is_told_of_each_block_and_stops_after_one(made: Path, tmp_path: Path):
    stop = threading.Event()
    seen: list[tuple[int, int]] = []

    def told(done: int, of: int) -> None:
        seen.append((done, of))
        stop.set()

    first = generate(TINY, tmp_path / "set", told, workers=1, stop=stop)
    assert not first.finished
    assert seen == [(1, 4)]
    stop.clear()
    rest = generate(TINY, tmp_path / "set", workers=1, stop=stop, resume=True)
    assert rest.finished
    assert first.rendered + rest.rendered == rest.pictures + rest.frames
    assert digest(tmp_path / "set") == digest(made)
