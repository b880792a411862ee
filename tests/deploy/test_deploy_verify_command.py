"""`crosscam verify` and what `crosscam models show` tells afterwards."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from verify_parts import paint_crops

from crosscam_deploy.manifest import Decoder
from crosscam_edge.cli import main
from crosscam_edge.cli.frames import read_frames
from crosscam_edge.cli.pictures import PictureOptions, pictures_of
from crosscam_kernels.errors import InputError, UsageError

pytest.importorskip("onnx")
QUICK = ("--rounds", "1", "--seconds", "0")


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_an_embedder_on_crops(tiny, tmp_path, capsys):
    paint_crops(tmp_path / "crops")
    page, table = tmp_path / "r.html", tmp_path / "r.md"
    code, out, _ = run(
        capsys, "verify", tiny.path, "--crops", tmp_path / "crops", "--runtime", "onnxruntime",
        "--threads", 1, "--batch", 2, "--json", "-", "--html", page, "--markdown", table, *QUICK,
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    assert [row["role"] for row in report["rows"]] == ["reference", "baseline", "candidate"]
    assert report["data"] == {
        "kind": "crops",
        "sets": {f"{tmp_path.name}/crops": 24},
        "people": 4,
        "labelled": True,
    }
    assert report["rows"][2]["candidate"]["threads"] == 1
    assert report["rows"][2]["accuracy"]["cosine_min"] > 0.9999
    assert report["rows"][2]["speed"][0]["batch"] == 2
    assert "<table>" in page.read_text()
    assert table.read_text().startswith("| runs in |")
    code, out, _ = run(capsys, "models", "show", tiny.path)
    assert code == 0
    assert "verified" in out
    assert "ONNX Runtime f32, 1 thread" in out
    _, out, _ = run(capsys, "models", "show", tiny.path, "--json")
    assert json.loads(out)["verified"]["rows"][2]["status"] == "passed"


def test_a_candidate_below_a_gate_is_status_4(tiny, tmp_path, capsys, make):
    paint_crops(tmp_path / "crops")
    other = make.pack_embedder(
        tmp_path / "other", make.write_embedder(tmp_path / "other.onnx", seed=9), name="other"
    )
    code, out, _ = run(
        capsys, "verify", tiny.path, other.path, "--crops", tmp_path / "crops", "--batch", 1,
        "--runtime", "onnxruntime", "--gate", "min_top1_agreement=1", "--gate",
        "max_mean_ap_drop=off", "--no-baseline", "--no-save", *QUICK,
    )  # fmt: skip
    assert code == 4
    assert "refused" in out
    assert "top-1 agreement" in out
    assert not list(tmp_path.glob("*.verify.json"))


def constant_detector(make, tmp_path, *, score: float = 0.9):
    """Finds one person, wherever it looks: at 8, 8 to 24, 40."""
    rows = np.zeros((1, 5, 6), np.float32)
    rows[0, 0] = (8, 8, 24, 40, score, 0)
    file = make.write_constant_detector(tmp_path / f"{score}.onnx", {"out": rows})
    return make.pack_detector(tmp_path / f"{score}", file, Decoder(kind="end2end"))


def write_frames(folder, count: int = 3):
    folder.mkdir()
    for k in range(count):
        picture = np.random.default_rng(k).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"{k}.png"), picture)
    return folder


def test_a_detector_on_frames(make, tmp_path, capsys):
    bundle = constant_detector(make, tmp_path)
    frames = write_frames(tmp_path / "frames")
    truth = tmp_path / "gt.txt"
    # Two people in each frame; the second is half outside, and one more is not to be counted.
    truth.write_text(
        "".join(
            f"{k},1,8,8,16,32,1,-1,-1,-1\n{k},2,40,8,60,32,1,-1,-1,-1\n{k},3,30,8,5,32,0,-1,-1,-1\n"
            for k in (1, 2, 3)
        )
    )
    code, out, _ = run(
        capsys, "verify", bundle.path, "--frames", frames, "--truth", truth, "--runtime",
        "onnxruntime", "--threads", 1, "--no-baseline", "--json", "-", *QUICK,
    )  # fmt: skip
    assert code == 0
    reference, row = json.loads(out)["rows"]
    assert reference["role"] == "reference"
    found = row["accuracy"]
    assert found["truth"] == "labels"
    assert (found["people"], found["frames"]) == (6, 3)
    assert (found["average_precision"], found["recall"]) == (0.5, 0.5)
    assert found["average_precision_change"] == 0
    assert row["speed"][0]["batch"] == 1


def test_a_detector_that_sees_nobody_proves_nothing(make, tmp_path, capsys):
    blind = constant_detector(make, tmp_path, score=0.0)
    code, out, _ = run(
        capsys, "verify", blind.path, "--frames", write_frames(tmp_path / "frames"), "--runtime",
        "onnxruntime", "--threads", 1, "--no-baseline", "--report-only", *QUICK,
    )  # fmt: skip
    assert code == 0, "--report-only"
    assert "refused" in out
    assert "nobody is in the frames" in out


def test_labels_as_coco_has_them(tmp_path):
    frames = write_frames(tmp_path / "set")
    document = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": 64, "height": 64} for k in range(3)
        ],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0,
             "area": 1200},
        ],
    }  # fmt: skip
    (frames / "annotations.json").write_text(json.dumps(document))
    found = read_frames(frames, None, tmp_path / "unused", every=None, limit=100)
    assert [len(rows) for rows in found.truth] == [0, 1, 0]
    assert found.truth[1].tolist() == [[1, 2, 31, 42]]
    assert not (tmp_path / "unused").exists()
    assert len(read_frames(frames, None, tmp_path / "x", every=2, limit=100).frames) == 2


def test_frames_of_a_video_are_spread_and_keep_their_labels(assets, tmp_path):
    video = assets / "videos" / "vtest.avi"
    truth = assets / "groundtruth" / "vtest_mot15.txt"
    found = read_frames(video, truth, tmp_path / "frames", every=20, limit=3)
    assert [path.name for path in found.frames] == ["00000000.png", "00000020.png", "00000040.png"]
    rows = np.loadtxt(truth, delimiter=",")
    for k, boxes in zip((0, 20, 40), found.truth, strict=True):
        assert len(boxes) == (rows[:, 0] == k + 1).sum()
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= 768
    assert cv2.imread(str(found.frames[2])).shape == (576, 768, 3)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("embed", {}, "crops"),
        ("embed", {"crops": ["x"], "frames": ["y"]}, "crops"),
        ("detect", {"crops": ["x"]}, "frames"),
        ("detect", {"frames": ["x"], "truth": ["a", "b"]}, "2 --truth for 1 --frames"),
    ],
)
def test_pictures_that_do_not_fit_the_task(task, options, message):
    fields = {"crops": (), "pattern": None, "frames": (), "truth": (), "every": None, "limit": None}
    with (
        pytest.raises(UsageError, match=message),
        pictures_of(task, PictureOptions(**fields | options)),
    ):
        pass


@pytest.mark.parametrize("gate", ["min_cosine", "speed=1", "min_cosine=much", "max_ap_drop=-1"])
def test_gates_that_are_none(tiny, tmp_path, capsys, gate):
    code, _, err = run(capsys, "verify", tiny.path, "--crops", tmp_path, "--gate", gate)
    assert code == 2
    assert "gate" in err


def test_pictures_that_are_not_there(tiny, tmp_path, capsys):
    code, _, err = run(capsys, "verify", tiny.path, "--crops", tmp_path / "no")
    assert code == 3
    assert "does not exist" in err
    with pytest.raises(InputError):
        read_frames(tmp_path / "no.mp4", None, tmp_path / "f", every=None, limit=9)


@pytest.mark.slow
def test_the_models_that_come_with_crosscam(assets, tmp_path, capsys):
    """One command compares engines of the real detector on real footage."""
    from crosscam_deploy.paths import packaged_dir

    code, out, _ = run(
        capsys, "verify", packaged_dir() / "crosscam-detector", "--frames",
        assets / "videos" / "vtest.avi", "--truth", assets / "groundtruth" / "vtest_mot15.txt",
        "--limit", 20, "--json", "-", "--no-save", *QUICK,
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    assert report["rows"][0]["accuracy"]["average_precision"] > 0.85
    for row in report["rows"]:
        assert abs(row["accuracy"]["average_precision_change"]) < 0.01
        assert row["accuracy"]["agreement"] > 0.95
