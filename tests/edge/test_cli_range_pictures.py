"""`crosscam_edge.cli.range_pictures`: pictures to calibrate with from every kind of source."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from crosscam_deploy import zoo
from crosscam_edge.cli import range_pictures
from crosscam_edge.cli.range_pictures import calibration_files, check_apart
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_kernels.errors import InputError, UsageError

SIZE = (120, 160)


def paint(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((64, 32, 3), value, np.uint8))
    return path


def film(path: Path, frames: int = 12) -> Path:
    """A grey video with a red person of 40 x 20 pixels, left at 30 and top at 50."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE[::-1])
    for k in range(frames):
        image = np.full((*SIZE, 3), 40 + k, np.uint8)
        image[50:90, 30:50] = (0, 0, 255)
        writer.write(image)
    writer.release()
    return path


def names(*sources: object, task: str = "embed", **options: object) -> list[str]:
    with calibration_files([str(each) for each in sources], task, **options) as files:
        return [path.name for path in files]


def test_crops_by_their_names_or_any(tmp_path):
    for person in ("anna", "ben"):
        paint(tmp_path / "named" / person / "c1_0.png")
    paint(tmp_path / "other" / "x.png")
    assert names(tmp_path / "named", tmp_path / "other") == ["c1_0.png", "c1_0.png", "x.png"]
    assert names(tmp_path / "named", pattern="{person}/{camera}_{view}.png") == ["c1_0.png"] * 2
    assert names() == []


def test_of_a_data_set_those_to_train_on(tmp_path):
    for split, person in (("bounding_box_train", 2), ("query", 5), ("bounding_box_test", 5)):
        for camera in (1, 2):
            paint(tmp_path / split / f"{person:04d}_c{camera}s1_000451_00.jpg")
    found = names(tmp_path)
    assert found == ["0002_c1s1_000451_00.jpg", "0002_c2s1_000451_00.jpg"]


def test_not_more_than_are_of_use_and_the_same_again(tmp_path, monkeypatch):
    for k in range(30):
        paint(tmp_path / f"{k:02d}.png")
    monkeypatch.setattr(range_pictures, "_MOST_PICTURES", 8)
    first = names(tmp_path, task="detect")
    assert len(first) == 8
    assert first == sorted(first)
    assert names(tmp_path, task="detect") == first
    assert names(tmp_path, task="detect", seed=1) != first


def test_frames_of_a_video_are_there_until_the_end(tmp_path, monkeypatch):
    video = film(tmp_path / "a.avi")
    monkeypatch.setattr(range_pictures, "_MOST_FRAMES", 4)
    with calibration_files([str(video)], "detect") as files:
        assert [path.name for path in files] == [f"{k:08d}.png" for k in (0, 3, 6, 9)]
        assert cv2.imread(str(files[0])).shape == (*SIZE, 3)
    assert not files[0].exists()


def test_people_of_a_video_are_cut_out(tmp_path, monkeypatch):
    @contextmanager
    def detector():
        yield lambda image: np.array([[30.2, 49.8, 50, 90], [0, 0, 9, 9], [-20, 30, 12, 140]])

    monkeypatch.setattr(range_pictures, "_detector", detector)
    with calibration_files([str(film(tmp_path / "a.avi", 2))], "embed") as files:
        shapes = sorted(cv2.imread(str(path)).shape for path in files)
        assert shapes == [(40, 20, 3)] * 2 + [(90, 12, 3)] * 2  # the smallest is nobody
        person = next(each for path in files if (each := cv2.imread(str(path))).shape[0] == 40)
    assert person[20, 10].tolist() == pytest.approx([0, 0, 255], abs=12)


def test_a_video_without_a_detector(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "best_available", lambda task: None)
    with pytest.raises(InputError, match="no detector"):
        names(film(tmp_path / "a.avi", 2))


@pytest.mark.parametrize("task", ["embed", "detect"])
def test_a_simulated_site_by_its_truth(tmp_path, task, monkeypatch):
    def small(root, task, seed):
        config = SiteConfig(
            people=6, cameras=2, seconds=2, fps=2, width=320, height=240, seed=seed, crowding=1.0
        )
        simulate(config, root)

    monkeypatch.setattr(range_pictures, "_simulate", small)
    with calibration_files(["simulated"], task, seed=3) as files:
        shapes = {cv2.imread(str(path)).shape for path in files}
    if task == "detect":
        assert len(files) == 8
        assert shapes == {(240, 320, 3)}
    else:
        assert files
        assert all(32 <= shape[0] <= 240 and shape != (240, 320, 3) for shape in shapes)


@pytest.mark.slow
def test_simulated_crops_are_enough_to_calibrate_with():
    assert len(names("simulated")) >= 50


def test_what_is_no_source_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not there"):
        names(tmp_path / "nothing")
    for task in ("embed", "detect"):
        with pytest.raises(InputError, match="no"):
            names(tmp_path / "empty", task=task)
    (tmp_path / "text.txt").write_text("no video")
    with pytest.raises(InputError):
        names(tmp_path / "text.txt", task="detect")


def test_a_video_is_not_judged_on_and_calibrated_with(tmp_path):
    video = film(tmp_path / "a.avi", 2)
    for source in (video, tmp_path):
        with pytest.raises(UsageError, match="judged on and calibrated with"):
            check_apart([str(source)], [video])
    check_apart(["simulated", str(tmp_path / "b.avi")], [video])
    check_apart([str(tmp_path)], [tmp_path])  # a data set: others are judged on
