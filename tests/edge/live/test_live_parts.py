"""Addresses, clocks, back-off and the newest picture."""

from __future__ import annotations

import errno

import av.error
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.backoff import Backoff
from crosscam_edge.live.address import parse_address
from crosscam_edge.live.clocks import CameraClock, UtcClock
from crosscam_edge.live.faults import FIXES, FaultCode, SourceFault, fault_of
from crosscam_edge.live.latest import Latest
from crosscam_kernels.errors import UsageError

S = 1_000_000_000


def test_secrets_are_put_in_and_never_shown(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("p@ss/w:rd\nsecond line\n")
    text = f"rtsp://${{CAM_USER}}:${{file:{secret}}}@10.0.0.7/live"
    found = parse_address(text, {"CAM_USER": "viewer"})
    assert found.kind == "stream"
    assert found.target == "rtsp://viewer:p%40ss%2Fw%3Ard@10.0.0.7/live"
    for shown in (found.shown, repr(found), str(found)):
        assert "10.0.0.7" in shown
        assert "p%40ss" not in shown
        assert "viewer" not in shown


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("webcam:1", "webcam", "/dev/video1"),
        ("/dev/video0", "webcam", "/dev/video0"),
        ("hall.mp4", "file", "hall.mp4"),
        ("rtsps://cam.local:322/a?b=c", "stream", "rtsps://cam.local:322/a?b=c"),
        ("RTSP://cam/a", "stream", "RTSP://cam/a"),
    ],
)
def test_addresses(text, kind, target):
    found = parse_address(text, {})
    assert (found.kind, found.target) == (kind, target)


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd", "concat://a|b", "rtsp://", "rtsp://:554/x", "rtsp://h:port/x",
        "rtsp://[::1/x", "webcam:front", "rtsp://${MISSING}@h/x", "rtsp://${file:/no/such}@h/x",
        "rtsp://${a b}@h/x", "data://x", "subfile://x",
    ],
)  # fmt: skip
def test_what_is_no_camera_is_refused_without_its_secrets(text):
    with pytest.raises(UsageError) as caught:
        parse_address(text.replace("://h", "://u:topsecret@h"), {})
    assert "topsecret" not in str(caught.value)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text):
    try:
        found = parse_address(text, {})
    except UsageError:
        return
    assert found.kind in ("stream", "webcam", "file")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x85\u2028\u2029"), min_size=4))
def test_no_password_is_shown(password):
    found = parse_address("rtsp://u:${P}@cam.example/live", {"P": password})
    assert found.shown == "rtsp://***@cam.example/live"


def test_backoff_doubles_to_its_bound_and_begins_anew():
    backoff = Backoff(1.0, 8.0, seed=0)
    pauses = [backoff.failed() for _ in range(8)]
    for pause, bound in zip(pauses, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
        assert bound / 2 <= pause <= bound
    assert len(set(pauses)) == 8
    backoff.worked()
    assert backoff.failed() <= 1.0
    tired = Backoff()
    assert all(tired.failed() <= 30.0 for _ in range(3000))  # 2 ** 3000 is no float


def test_utc_never_runs_backwards():
    system, steady = [1000 * S], [0]
    clock = UtcClock(lambda: system[0], lambda: steady[0])

    def passes(seconds, system_seconds=None):
        steady[0] += round(seconds * S)
        system[0] += round((seconds if system_seconds is None else system_seconds) * S)
        return clock.now_ns()

    assert passes(1) == 1001 * S
    assert passes(1, -500) >= 1002 * S - S // 1000  # somebody set the clock back
    before = clock.now_ns()
    assert before < passes(10) < 1012 * S
    assert passes(1, 3600) > 3000 * S  # the box found its time server: followed at once


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-4000, 4000)), max_size=50))
def test_utc_grows_whatever_is_done_to_the_clock(steps):
    system, steady = [10**18], [0]
    clock = UtcClock(lambda: system[0], lambda: steady[0])
    last = clock.now_ns()
    for seconds, jump in steps:
        steady[0] += round(seconds * S)
        system[0] += round(jump * S)
        now = clock.now_ns()
        assert now >= last
        last = now


def test_jitter_of_the_network_is_taken_out():
    clock = CameraClock()
    late = [0.0, 0.08, 0.01, 0.2, 0.0, 0.05, 0.0]
    found = [
        clock.date(round((100 + 0.1 * k + late[k]) * S), round(0.1 * k * S), None) for k in range(7)
    ]
    expected = [round((100 + 0.1 * k) * S) for k in range(7)]
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < S // 1000
    assert clock.figures.source == "stream"


def test_the_cameras_own_clock_counts_where_it_is_right():
    clock = CameraClock(offset_ns=2 * S)
    assert clock.date(100 * S, 0, round(99.9 * S)) == round(101.9 * S)
    assert clock.figures.source == "rtcp"
    assert clock.figures.skew_s == pytest.approx(-0.1)
    assert clock.date(101 * S, S, 0) == 103 * S  # it thinks that it is 1970
    assert clock.figures.source == "stream"
    assert clock.figures.skew_s < -100


def test_times_that_jump_begin_anew_and_go_on_growing():
    clock = CameraClock()
    times = [clock.date(10 * S, 10 * S, None), clock.date(11 * S, 11 * S, None)]
    times.append(clock.date(12 * S, 0, None))
    times.append(clock.date(13 * S, 5000 * S, None))
    assert times == [10 * S, 11 * S, 12 * S, 13 * S]
    assert clock.figures.jumps == 2
    assert clock.date(13 * S, 5000 * S, None) > times[-1]
    assert clock.figures.repaired == 1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10 * S), st.none() | st.integers(-(2**62), 2**62),
            st.none() | st.integers(-(2**62), 2**62),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_times_grow_whatever_a_camera_sends(sent):
    clock, arrival, last = CameraClock(), 10**18, None
    for later, stream, rtcp in sent:
        arrival += later
        found = clock.date(arrival, stream, rtcp)
        assert last is None or found > last
        last = found


def test_the_newest_one_counts():
    told = []
    latest = Latest(lambda: told.append(1))
    assert latest.take() is None
    for item in "abc":
        latest.put(item)
    assert (latest.take(), latest.take()) == ("c", None)
    assert (latest.dropped, len(told)) == (2, 3)
    latest.put("d")
    latest.clear()
    assert (latest.take(), latest.dropped) == (None, 3)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (av.error.HTTPUnauthorizedError(1, "401"), FaultCode.UNAUTHORISED),
        (av.error.HTTPNotFoundError(1, "404"), FaultCode.NOT_FOUND),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), FaultCode.REFUSED),
        (OSError(errno.EHOSTUNREACH, "no"), FaultCode.UNREACHABLE),
        (av.error.ExitError(1, "exit"), FaultCode.TIMEOUT),
        (FileNotFoundError(errno.ENOENT, "no"), FaultCode.NOT_FOUND),
        (ZeroDivisionError("oh"), FaultCode.INTERNAL),
    ],
)
def test_faults_have_codes_and_a_way_out(error, code):
    fault = fault_of(error)
    assert fault.code is code
    assert fault.fix
    assert fault_of(fault) is fault


def test_faults_keep_secrets():
    fault = SourceFault(FaultCode.TIMEOUT, "rtsp://admin:topsecret@cam/live timed out")
    assert "topsecret" not in str(fault)
    assert set(FIXES) == set(FaultCode)
