"""What users meet when what they give is wrong: a status, a reason and a remedy; no traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import wave
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import cv2
import numpy as np
import pytest

from crosscam_edge import cli
from crosscam_edge.offline import camera as offline_camera
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

PLAIN = ["--no-video", "--no-report", "--no-crops"]
NO_MODELS = ["--detector", "motion", "--embedder", "colour"]


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def crosscam(*args: object) -> Outcome:
    """Run the command in this process, as `python -m` would, and return all it said."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        cli.main([str(arg) for arg in args])
    assert "Traceback" not in err.getvalue()
    assert "failed unexpectedly" not in err.getvalue()
    return Outcome(int(left.value.code or 0), out.getvalue(), err.getvalue())


def clip(path: Path, frames: int = 40, size: tuple[int, int] = (160, 120), **mux: str) -> Path:
    """Write a video of noise with one box that walks through it."""
    noise = np.random.default_rng(0).integers(60, 140, (size[1], size[0], 3)).astype(np.uint8)
    with av.open(str(path), "w", **mux) as container:
        stream = container.add_stream("mpeg2video" if mux else "mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = 1  # whole pictures only: half of the bytes are half of the frames
        for i in range(frames):
            image = noise.copy()
            cv2.rectangle(image, (4 * i, 20), (4 * i + 20, 90), (30, 60, 200), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one of everything, made the current one."""
    path = tmp_path_factory.mktemp("inputs")
    data = clip(path / "door.avi").read_bytes()
    (path / "cut.avi").write_bytes(data[: len(data) * 4 // 5])
    flips, chance = bytearray(data), random.Random(1)
    for _ in range(60):
        flips[chance.randrange(len(data) // 2, len(data) * 3 // 4)] ^= 1 << chance.randrange(8)
    (path / "flips.avi").write_bytes(flips)
    (path / "my video ü\n.avi").write_bytes(data)
    whole = clip(path / "whole.mp4").read_bytes()
    (path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    resized = [clip(path / f"{w}.ts", size=(w, 120), format="mpegts") for w in (160, 320)]
    (path / "resize.ts").write_bytes(b"".join(p.read_bytes() for p in resized))
    (path / "empty.mp4").touch()
    (path / "notes").mkdir()
    (path / "notes" / "a.txt").write_text("x")
    (path / "recordings").mkdir()
    (path / "recordings" / "a.mp4").write_bytes(whole)
    with wave.open(str(path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    before = Path.cwd()
    os.chdir(path)
    yield path
    os.chdir(before)


REFUSED = [
    ("dor.avi", 3, "'dor.avi' does not exist", "did you mean 'door.avi'?"),
    ("notes", 3, "holds no pictures", "give a video file"),
    ("recordings", 3, "holds no pictures (but 1 videos)", "recordings/a.mp4'"),
    ("empty.mp4", 3, "is empty (0 bytes)", "copy or export the recording again"),
    ("cut.mp4", 3, "cannot be read as a video", "untrunc"),
    ("sound.wav", 3, "has no video stream, only audio", "sound track"),
    ("rtsp://eve:secret@cam/1", 3, "'rtsp://***@cam/1' is an address", "record it to a file"),
    ("-", 3, "'-' does not exist", "check the path"),
    ("x" * 5000, 3, "cannot be opened", "check the path"),
]


@pytest.mark.parametrize(
    ("video", "status", "found", "fix"),
    REFUSED,
    ids=[r[0][:12] for r in REFUSED],
)
def test_refused_videos(
    folder: Path, tmp_path: Path, video: str, status: int, found: str, fix: str
) -> None:
    done = crosscam("process", video, "-o", tmp_path / "out", *NO_MODELS, *PLAIN)
    assert done.status == status
    assert done.err.startswith("crosscam: error: ")
    for text in (found, fix, "Expected: ", "What to do: "):
        assert text in done.err
    assert "secret" not in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("video", "warning"),
    [
        ("cut.avi", "the source ends early"),
        ("flips.avi", "damaged frames: "),
        ("resize.ts", "changes of the picture size inside the stream: 1"),
        ("my video ü\n.avi", ""),
    ],
)
def test_imperfect_videos_go_as_far_as_they_go(
    folder: Path, tmp_path: Path, video: str, warning: str
) -> None:
    done = crosscam("process", video, "-o", tmp_path / "out", *NO_MODELS, *PLAIN)
    assert done.status == 0, done.err
    assert warning in done.err
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["status"] == "complete"
    assert run["figures"]["frames"] > 5


FLAGS = [
    (["--fps", "0"], 2, "--fps is '0.0'. Expected: greater than 0."),
    (["--fps", "nan"], 2, "--fps is 'nan'. Expected: a finite number."),
    (["--fps", "fast"], 2, "'fast' is not a valid float"),
    (["--threads", "0"], 2, "--threads is '0'. Expected: greater than or equal to 1."),
    (["--min-confidence", "-1"], 2, "--min-confidence is '-1.0'. Expected: greater than"),
    (["--batch", "0"], 2, "0 is not in the range 1<=x<=256"),
    (["--detector", ""], 2, "--detector is text ''. Expected: at least one character."),
    (["--detector", "yolox-nan"], 3, "did you mean yolox-nano"),
    (["--embedder", "yolox-nano"], 3, "does not embed"),
    (["--embedder", "../../etc/passwd"], 3, "there is no bundle at"),
    (["--detector", "door.avi"], 3, "is not a readable zip"),
    (["--config", ""], 2, "it is empty; give a path"),
    (["--config", "notes"], 3, "'notes' is a folder"),
    (["--config", "none.yaml"], 3, "the configuration 'none.yaml' does not exist"),
    (["--nope"], 2, "No such option '--nope'"),
    ([""], 2, "it is empty; give a path"),
    (["a\0"], 2, "it holds a zero byte"),
    (["door.avi"], 2, "the video 'door.avi' is given twice"),
]


@pytest.mark.parametrize(("flags", "status", "found"), FLAGS, ids=[repr(f[0]) for f in FLAGS])
def test_wrong_flags(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    status: int,
    found: str,
) -> None:
    if "yolox-nano" in flags and not os.environ.get("CROSSCAM_MODELS"):
        pytest.skip("CROSSCAM_MODELS does not name a folder with real models")
    defaults = [*NO_MODELS[:2]] if "--detector" not in flags else []
    defaults += NO_MODELS[2:] if "--embedder" not in flags else []
    done = crosscam("process", "door.avi", *flags, "-o", tmp_path / "out", *defaults, *PLAIN)
    assert done.status == status, done.err
    assert found in done.err
    assert not (tmp_path / "out" / "run.json").exists()


BOMB = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(20))
SITES = [
    (b"camras: []", 2, "camras: unknown key", "did you mean 'cameras'?"),
    (b"- a\n- b", 2, "the file holds a list of 2", "see docs/guides/process.md"),
    (b"cameras:\n\t- id: a", 2, "line 2, column 1", "indented with spaces"),
    (bytes(range(256)), 3, "is not text in UTF-8", "save it as UTF-8"),
    (b"a\0b: 1", 2, "not valid YAML", "correct"),
    (BOMB.encode(), 2, "aliases (*name) are not used", "correct that line"),
    (b"[" * 5000, 2, "not valid YAML", "correct"),
    (b"", 2, "there is no video to process", "crosscam process VIDEO"),
    (b"cameras: [{id: a/b}]", 2, "text 'a/b'", "letters, digits, '.', '_' and '-'"),
    (b"cameras: [{id: 2026-01-01}]", 2, "found '2026-01-01'", "in quotes"),
    (b"cameras: [{id: a}]", 2, "cameras[0] (a) has no video", "add 'video:'"),
    (b"cameras: [{region: [[1, 2], [3]]}]", 2, "region[1][1]: there is nothing", "add what"),
    (b"cameras: [{start_time: 9999-12-31T23:59:59-12:00}]", 2, "the year 9999", "correct"),
    (b"cameras: [{start_time: 0001-01-01T00:00:00Z}]", 2, "the year 1 is not", "correct"),
    (b"cameras: [{start_time: 2026-99-99T00:00:00Z}]", 2, "month must be in 1..12", "correct"),
    (b"1: 2", 2, "found '1'", "keys that are text"),
    (b'detector: "\\ud800"', 2, "detector: found", "correct"),
    (b"x" * (1 << 20) + b"y", 3, "has 1048577 bytes", "give the site file, not a video"),
    (b'cameras: [{video: "a\\0b"}]', 3, "cannot be opened", "check the path"),
]


@pytest.mark.parametrize(
    ("text", "status", "found", "fix"), SITES, ids=[repr(s[0][:30]) for s in SITES]
)
def test_wrong_site_files(tmp_path: Path, text: bytes, status: int, found: str, fix: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_bytes(text)
    done = crosscam("process", "-c", site, "-o", tmp_path / "out", *NO_MODELS, *PLAIN)
    assert done.status == status, done.err
    assert found in done.err
    assert fix in done.err


@pytest.mark.parametrize(
    ("output", "status", "found"),
    [
        ("", 2, "it is empty; give a path"),
        ("door.avi", 3, "is a file. Expected: a folder"),
        ("door.avi/out", 3, "door.avi/out"),
        ("/proc/crosscam/out", 3, "cannot be written"),
        ("o" * 300, 3, "File name too long"),
    ],
)
def test_wrong_outputs(folder: Path, output: str, status: int, found: str) -> None:
    done = crosscam("process", "door.avi", "-o", output, *NO_MODELS, *PLAIN)
    assert done.status == status, done.err
    assert found in done.err
    if status == 3:
        assert "another" in done.err
        assert "-o" in done.err


def test_an_input_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    video = clip(tmp_path / "video" / "a.avi")
    for flags in ([], ["--overwrite"]):
        done = crosscam("process", video, "-o", tmp_path, *flags, *NO_MODELS, *PLAIN)
        assert done.status == 2
        assert "lies where the results go" in done.err
    other = clip(tmp_path / "b.avi")
    done = crosscam("process", other, "-o", tmp_path, "--overwrite", *NO_MODELS, *PLAIN)
    assert done.status == 2
    assert "no run wrote that" in done.err
    assert video.exists()


def test_output_beside_the_pictures_that_are_read(tmp_path: Path) -> None:
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((64, 64, 3), 20 * i, np.uint8))
    command = ["process", tmp_path, "-o", tmp_path, *NO_MODELS, *PLAIN]
    assert crosscam(*command).status == 0
    assert crosscam(*command, "--overwrite").status == 0
    assert len(list(tmp_path.glob("*.jpg"))) == 10


@pytest.fixture(scope="module")
def deploy_parts() -> ModuleType:
    """The small graphs of the tests of crosscam_deploy."""
    pytest.importorskip("onnx")
    file = Path(__file__).parents[1] / "deploy" / "conftest.py"
    spec = importlib.util.spec_from_file_location("deploy_parts", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("fault", ["hash", "edited", "size"])
def test_bundles_that_are_not_what_they_say(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deploy_parts: Any,
    fault: str,
) -> None:
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))
    graph = deploy_parts.write_embedder(tmp_path / "tiny.onnx")
    bundle = tmp_path / "bundle"
    deploy_parts.pack_embedder(bundle, graph, size=(64, 32) if fault == "size" else (32, 16))
    if fault == "hash":
        (bundle / "tiny.onnx").write_bytes(graph.read_bytes()[:-1] + b"?")
    elif fault == "edited":
        manifest = bundle / "manifest.json"
        text = manifest.read_text()
        manifest.write_text(text.replace('"rgb"', '"bgr"'))
        assert manifest.read_text() != text
    flags = ["--detector", "motion", "--embedder", bundle, *PLAIN]
    done = crosscam("process", "door.avi", "-o", tmp_path / "out", *flags)
    assert done.status == 3, done.err
    found = {
        "hash": "tiny.onnx in",
        "edited": "was changed",
        "size": "wrong pre-processing: it says 64x32 (height x width), the graph takes 32x16",
    }
    assert found[fault] in done.err
    assert "What to do: " in done.err


def test_one_failing_camera_costs_the_exit_status_but_not_the_results(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts must be able to tell a whole result from one that lacks a camera."""
    command = ["process", "door.avi", "flips.avi", "-o", tmp_path, *NO_MODELS, *PLAIN]
    whole = offline_camera.open_source

    def failing(camera_id: str, *args: Any, **options: Any) -> Any:
        source = whole(camera_id, *args, **options)
        if camera_id == "flips":
            frames = source.frames

            def some(**kwargs: Any) -> Iterator[Any]:
                for number, frame in enumerate(frames(**kwargs)):
                    if number == 10:
                        raise InputError("the disk with 'flips.avi' is gone", fix="mount it again")
                    yield frame

            source.frames = some
        return source

    with monkeypatch.context() as patched:
        patched.setattr(offline_camera, "open_source", failing)
        done = crosscam(*command)
        assert done.status == 4
        assert "Done, except flips" in done.out
        assert "camera 'flips' could not be finished: the disk" in done.err
        run = json.loads((tmp_path / "run.json").read_text())
        assert run["status"] == "complete"
        assert run["error"].startswith("flips: the disk")
        assert (tmp_path / "mot" / "door.txt").exists()
        assert run["figures"]["frames"] == 50

        summary = crosscam(*command, "--json")
        assert summary.status == 4
        assert list(json.loads(summary.out)["failed"]) == ["flips"]
    # the cause removed, the same command finishes what is missing
    assert crosscam(*command).status == 0
    run = json.loads((tmp_path / "run.json").read_text())
    # What a decoder makes of damage depends on the number of its threads, and so on the machine.
    command[4] = tmp_path / "at once"
    assert crosscam(*command).status == 0
    frames = json.loads((tmp_path / "at once" / "run.json").read_text())["figures"]["frames"]
    assert frames > 60
    assert (run["error"], run["figures"]["frames"]) == (None, frames)


def test_videos_left_out_on_request_are_no_failure(folder: Path, tmp_path: Path) -> None:
    command = ["process", "door.avi", "empty.mp4", "-o", tmp_path, *NO_MODELS, *PLAIN]
    assert crosscam(*command).status == 3
    done = crosscam(*command, "--keep-going")
    assert done.status == 0
    assert "camera 'empty' was left out" in done.err


@pytest.mark.parametrize("verbose", [False, True])
def test_a_bug_is_told_without_a_traceback_unless_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verbose: bool
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("rtsp://eve:secret@cam")

    monkeypatch.setattr("crosscam_edge.offline.process", broken)
    err = StringIO()
    command = ["-v"] * verbose + ["process", "door.avi", "-o", str(tmp_path / "out")]
    with redirect_stderr(err), pytest.raises(SystemExit) as left:
        cli.main(command)
    assert left.value.code == 4
    assert "failed unexpectedly (ZeroDivisionError: rtsp://***@cam)" in err.getvalue()
    assert "crosscam doctor" in err.getvalue()
    assert ("Traceback" in err.getvalue()) == verbose
