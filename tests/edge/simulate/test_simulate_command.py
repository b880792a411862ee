"""The command and its failures."""

from __future__ import annotations

import json

import pytest

from crosscam_edge.cli import main
from crosscam_edge.config import load_config
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_kernels.errors import InputError, RunError

TINY = ["--people", "2", "--cameras", "1", "--seconds", "0.4", "--size", "160x120"]


def test_refuses_a_full_folder_unless_told(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    config = SiteConfig(people=1, cameras=1, seconds=0.2, width=160, height=120)
    with pytest.raises(InputError, match="not empty"):
        simulate(config, tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["simulate", "-o", str(tmp_path), *TINY, "--overwrite", "--json"])
    assert done.value.code == 0
    assert json.loads(capsys.readouterr().out)["cameras"] == ["cam01-lobby"]
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert not (tmp_path / ".unfinished").exists()


def test_several_days_change_clothes_not_people(tmp_path):
    config = SiteConfig(people=3, cameras=1, seconds=0.2, width=160, height=120, days=2)
    site = simulate(config, tmp_path / "s")
    people = json.loads((tmp_path / "s" / "people.json").read_text())["people"]
    assert [d.name for d in site.days] == ["day1", "day2"]
    assert all((d / "site.yaml").exists() for d in site.days)
    assert all(p["days"][0]["clothes"] != p["days"][1]["clothes"] for p in people)


def test_days_follow_the_calendar(tmp_path):
    long = SiteConfig(days=31)
    assert long.start_of(0).isoformat() == "2026-01-05T09:00:00+00:00"
    assert long.start_of(30).isoformat() == "2026-02-04T09:00:00+00:00"
    folder = tmp_path / "s"
    with pytest.raises(SystemExit) as done:
        main(["simulate", "-o", str(folder), *TINY, "--days", "3",
              "--start-time", "2024-02-28T23:30:00+02:00"])  # fmt: skip
    assert done.value.code == 0
    starts = [
        load_config(folder / f"day{n}" / "site.yaml").cameras[0].start_time for n in (1, 2, 3)
    ]
    assert [str(s) for s in starts] == [
        "2024-02-28 21:30:00+00:00", "2024-02-29 21:30:00+00:00", "2024-03-01 21:30:00+00:00",
    ]  # fmt: skip


def test_interrupt_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    config = SiteConfig(people=2, cameras=2, seconds=2, width=160, height=120)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, tmp_path / "s", stop)
    assert list((tmp_path / "s").iterdir()) == []


def test_unwritable_target(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    config = SiteConfig(people=1, cameras=1, seconds=0.2, width=160, height=120)
    with pytest.raises(InputError):
        simulate(config, file)
    with pytest.raises(RunError, match="cannot write"):
        simulate(config, file / "below")


def test_full_disk_is_a_clear_error(tmp_path, monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("crosscam_edge.simulate.site.write_json", full)
    config = SiteConfig(people=1, cameras=1, seconds=0.2, width=160, height=120)
    with pytest.raises(RunError, match="No space left"):
        simulate(config, tmp_path / "s")
    assert not (tmp_path / "s" / "site.yaml").exists()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (["--size", "big"], "size 'big'"),
        (["--people", "0"], "--people 0: "),
        (["--fps", "-1"], "--fps -1.0: "),
        (["--days", "32"], "--days 32: "),
        (["--start-time", "soon"], "--start-time soon: "),
        (["--start-time", "1800-01-01"], "the year 1800"),
        (["--overlap", "--cameras", "1"], "overlap needs two cameras"),
    ],
)
def test_bad_values_are_usage_errors(tmp_path, capsys, bad, said):
    with pytest.raises(SystemExit) as done:
        main(["simulate", "-o", str(tmp_path / "s"), *bad])
    assert done.value.code == 2
    assert said in capsys.readouterr().err
