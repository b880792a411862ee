from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.config import SiteConfig, load_config, resolve_cameras
from crosscam_edge.config.cameras import safe_name
from crosscam_edge.config.load import parse_config
from crosscam_edge.config.relations import least_transits, pairs
from crosscam_edge.config.strict import CAMERA_ID
from crosscam_kernels.errors import CrosscamError, InputError, UsageError

SITE = Path("site.yaml")


@pytest.mark.parametrize(
    ("text", "found", "fix"),
    [
        ("camras: []", "site.yaml: camras: unknown key", "did you mean 'cameras'?"),
        ("cameras: [{vidoe: a}]", "cameras[0].vidoe: unknown key", "did you mean 'video'?"),
        ("outputs: {vide: true}", "outputs.vide: unknown key", "did you mean 'video'?"),
        ("min_confidence: high", "min_confidence: found text 'high'", "correct"),
        ("cameras: [{video: 3}]", "cameras[0].video: found '3'", "correct"),
        ("cameras: [{id: ../x}]", "cameras[0].id: found text '../x'", "correct"),
        ("cameras: [{id: Mosaic}]", "name of an output", "correct"),
        ("cameras: [{id: a}, {id: A}]", "have the same id 'A'", "correct"),
        ("cameras: [{id: a, overlaps_with: [b]}]", "names 'b', which is no camera", "'id: b'"),
        ("cameras: [{region: [[1, 2], [3, 4]]}]", "at least 3 points", "correct"),
        ("cameras: [{masks: [[[0, 0], [1, 1], [2, 2]]]}]", "no area", "correct"),
        ("a: [", "line 1, column 5: not valid YAML", "line"),
        ("fps: 1\nfps: 2", "the key 'fps' is given twice", "line"),
        ("x: &a [1]\ny: *a", "aliases", "line"),
        ("- 1", "a list of 1", "example"),
        ("!!python/object/apply:os.system [ls]", "not valid YAML", "line"),
    ],
)
def test_mistakes_name_file_key_and_remedy(text: str, found: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(text, SITE)
    assert found in caught.value.found
    assert "site.yaml" in caught.value.found
    assert fix in caught.value.fix


TWO = "cameras: [{id: door, %s}, {id: hall, %s}]"


@pytest.mark.parametrize(
    ("door", "hall", "found", "expected", "fix"),
    [
        ("transit_seconds: {hal: 4}", "", "transit_seconds names 'hal'", "hall", "mean 'hall'?"),
        ("transit_seconds: {door: 4}", "", "names the camera itself", "other", "remove"),
        ("transit_seconds: {hall: -1}", "", "transit_seconds.hall: found '-1'", "or equal", ""),
        ("transit_seconds: {hall: .nan}", "", "transit_seconds.hall", "finite", ""),
        ("transit_seconds: {hall: soon}", "", "found text 'soon'", "number", ""),
        ("transit_seconds: 4", "", "transit_seconds: found '4'", "{hall: 8}", ""),
        ("never_overlaps_with: hall", "", "found text 'hall'", "[hall, yard]", ""),
        ("never_overlaps_with: [yard]", "", "with names 'yard', which", "door, hall", "'id: yard'"),
        ("never_overlaps_with: [door]", "", "names the camera itself", "other", "remove"),
        ("overlaps_with: [hall], never_overlaps_with: [hall]", "", "'door' and 'hall' are in",
         "one of", "remove"),
        ("overlaps_with: [hall]", "never_overlaps_with: [door]", "'door' and 'hall' are in",
         "one of", "remove"),
        ("overlaps_with: [hall]", "transit_seconds: {door: 3}", "from 'hall' to 'door' takes 3 s",
         "common view", "remove"),
    ],
)  # fmt: skip
def test_wrong_relations_of_cameras(
    door: str, hall: str, found: str, expected: str, fix: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(TWO % (door, hall), SITE)
    assert found in caught.value.found
    assert expected in caught.value.expected
    assert fix in caught.value.fix
    assert caught.value.fix


def test_relations_of_cameras_hold_from_either_side() -> None:
    config = parse_config(
        """
        cameras:
          - {id: door, overlaps_with: [hall], transit_seconds: {yard: 12, stairs: 0}}
          - {id: hall, overlaps_with: [door]}
          - {id: yard, never_overlaps_with: [hall], transit_seconds: {door: 9.5}}
          - {id: stairs}
        """,
        SITE,
    )
    assert pairs(config.cameras, "overlaps_with") == {frozenset(("door", "hall"))}
    assert pairs(config.cameras, "never_overlaps_with") == {frozenset(("hall", "yard"))}
    assert least_transits(config.cameras) == {
        ("door", "yard"): 12, ("door", "stairs"): 0, ("yard", "door"): 9.5,
    }  # fmt: skip


def test_the_example_of_the_guide_is_valid() -> None:
    guide = Path(__file__).parents[3] / "docs" / "guides" / "process.md"
    example = guide.read_text().split("```yaml\n")[1].split("```")[0]
    config = parse_config(example, SITE)
    assert [camera.id for camera in config.cameras] == ["entrance", "hall", "yard"]


def test_videos_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("cameras: [{id: door, video: door.mp4, start_time: 2026-01-02 03:04:05}]\n")
    camera = load_config(file).cameras[0]
    assert camera.video == str(tmp_path / "door.mp4")
    assert camera.start_time is not None
    assert camera.start_time.timestamp() == 1767323045.0


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()])
def test_unreadable_file(tmp_path: Path, make) -> None:
    file = tmp_path / "site.yaml"
    make(file)
    with pytest.raises(InputError):
        load_config(file)


def test_binary_file(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="UTF-8"):
        load_config(file)


def test_ids_are_unique_and_safe() -> None:
    cameras = resolve_cameras(SiteConfig(), ["a/x.mp4", "b/x.mp4", "c/mosaic.avi", "d/Hof Süd.mp4"])
    assert [c.id for c in cameras] == ["x", "b-x", "c-mosaic", "Hof-Sud"]


def test_command_line_video_takes_its_configured_camera(tmp_path: Path) -> None:
    config = parse_config(
        f"cameras: [{{id: door, video: {tmp_path}/1.mp4}}, {{id: hall, offset_seconds: 2}}]", SITE
    )
    cameras = resolve_cameras(config, [tmp_path / "1.mp4", "hall.mp4", "other.mp4"])
    assert [c.id for c in cameras] == ["door", "hall", "other"]
    assert cameras[1].offset_seconds == 2


def test_same_video_twice(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.touch()
    (tmp_path / "link.mp4").symlink_to(video)
    with pytest.raises(UsageError, match="given twice"):
        resolve_cameras(SiteConfig(), [video, tmp_path / "link.mp4"])
    with pytest.raises(UsageError, match="no video to process"):
        resolve_cameras(SiteConfig(), [])
    with pytest.raises(UsageError, match="has no video"):
        resolve_cameras(parse_config("cameras: [{id: a}]", SITE), [])


@given(st.text(max_size=120))
def test_safe_names_are_valid_ids(text: str) -> None:
    import re

    assert re.match(CAMERA_ID, safe_name(text))
    assert ".." not in safe_name(text)


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_clear_error(text: str) -> None:
    fix = ""
    try:
        config = parse_config(text, SITE)
    except CrosscamError as error:
        config, fix = None, error.fix
    assert config is not None or fix
