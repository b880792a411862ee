"""A part of `benchmarks/chaos.py`: a real `crosscam run` among real cameras that fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_site_in_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("aio_rtsp_toolkit", "paho.mqtt", "fastapi"):
        pytest.importorskip(each)
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import chaos

    setting = chaos.Setting.make(tmp_path, hold_s=4.0, cameras=2, seconds=15.0)
    faults = ["camera_frozen", "clock_jumps", "broker_killed", "run_killed"]
    found = dict(chaos.chaos(setting, faults))
    first = setting.cameras[0]
    frozen = found["camera_frozen"]
    assert any("stalled" in each for each in frozen["told"][first])
    assert frozen["told"][first][-1] == "running"
    for each in ("camera_frozen", "clock_jumps", "broker_killed"):
        assert found[each]["others_lost"] == found[each]["others_reconnected"] == 0
        assert found[each]["events_lost"] == 0
    jumps = found["clock_jumps"]
    assert jumps["times_that_do_not_grow"] == 0
    assert jumps["times_off_s"] < 5
    killed = found["run_killed"]
    assert killed["broken_lines"] == 0
    assert killed["gallery_sound"]
    assert killed["ids_given_twice"] == killed["tracks_given_twice"] == []
    assert killed["known_again_s"] is not None
    assert found["in the end"]["events.jsonl"]["dropped"] == 0
