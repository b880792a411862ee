"""`crosscam run --listen` as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from crosscam_edge.cli import main
from crosscam_edge.server.tokens import Role, create_token


def test_a_run_is_asked_while_it_goes_on(videos, tmp_path):
    site, file = tmp_path / "site.yaml", tmp_path / "tokens.json"
    site.write_text(
        f"cameras: [{{id: hall, video: {videos / 'hall.mp4'}}}]\n"
        "detector: motion\nembedder: colour\n"
    )
    token = create_token(file, Role.VIEWER)[1]
    program = [
        sys.executable, "-c", "from crosscam_edge.cli import main; main()", "run", str(site),
        "-o", str(tmp_path / "out"),
        "--listen", "127.0.0.1:0", "--tokens", str(file), "--json",
    ]  # fmt: skip
    run = subprocess.Popen(program, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = next(each for each in run.stderr if "listening on" in each)
        url = line.split()[-1]
        assert httpx.get(url + "/cameras").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        ends = time.monotonic() + 30
        while httpx.get(url + "/cameras/hall", headers=headers).json()["looked_at"] < 5:
            assert time.monotonic() < ends
            time.sleep(0.1)
        text = httpx.get(url + "/metrics", headers=headers).text
        assert 'crosscam_records_dropped_total{sink="events.jsonl"} 0.0' in text
        run.send_signal(signal.SIGINT)
        printed, told = run.communicate(timeout=30)
        assert run.returncode == 0
        assert token not in printed + told + line
        assert "Traceback" not in told
    finally:
        run.kill()


def listening(pid):
    """Return the inodes of the sockets of a process that wait for connections or datagrams."""
    own = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    found = set()
    for table, waits in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        path = Path(f"/proc/{pid}/net/{table}")
        rows = path.read_text().splitlines()[1:] if path.exists() else ()
        found |= {row.split()[9] for row in rows if row.split()[3] == waits}
    return {inode for inode in found if f"socket:[{inode}]" in own}


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are told by Linux' /proc")
@pytest.mark.parametrize("asked", [False, True])
def test_nothing_listens_unless_it_is_asked_for(videos, tmp_path, asked):
    site, out = tmp_path / "site.yaml", tmp_path / "out"
    site.write_text(
        f"cameras: [{{id: hall, video: {videos / 'hall.mp4'}}}]\n"
        "detector: motion\nembedder: colour\n"
    )
    program = [
        sys.executable, "-c", "from crosscam_edge.cli import main; main()", "run", str(site),
        "-o", str(out), *(("--listen", "127.0.0.1:0") if asked else ()),
    ]  # fmt: skip
    run = subprocess.Popen(program, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 60
        while not any('"running"' in each.read_text() for each in out.glob("events.jsonl")):
            assert time.monotonic() < ends
            time.sleep(0.1)
        assert len(listening(run.pid)) == asked
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 0
    finally:
        run.kill()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--listen", "0.0.0.0:0"], "everybody"),
        (["--listen", "nowhere"], "no address"),
        (["--tokens", "t.json"], "without --listen"),
        (["--listen", "127.0.0.1:0", "--tokens", "absent.json"], "cannot be read"),
    ],
)
def test_what_is_not_safe_does_not_begin(tmp_path, capsys, words, told):
    site = tmp_path / "site.yaml"
    site.write_text("cameras: [{id: hall, url: 'rtsp://127.0.0.1:1/x'}]\n")
    with pytest.raises(SystemExit) as left:
        main(["run", str(site), "-o", str(tmp_path / "out"), *words])
    assert left.value.code in (2, 3)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
