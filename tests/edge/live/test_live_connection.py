"""What the first moments of a connection bring: pictures at once, or the right fault."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from rtsp_server import RtspServer, write_video

from crosscam_edge.live.address import parse_address
from crosscam_edge.live.connection import connect
from crosscam_edge.live.faults import FaultCode, SourceFault


def test_the_first_key_picture_is_not_lost(tmp_path):
    """The next one may be far off: a camera would be blind for so long after each connection."""
    pytest.importorskip("aio_rtsp_toolkit")
    write_video(tmp_path / "hall.mp4", seconds=8, gop=200)
    server = RtspServer(tmp_path)
    server.start()
    try:
        connection = connect(parse_address(server.url("hall.mp4")), time.time_ns)
        first = next(connection.pictures())
        connection.close()
    finally:
        server.kill()
    assert connection.figures.skipped == 0
    assert first.raw.key_frame
    image = first.raw.to_ndarray(format="bgr24")
    assert image[:, 2:10].mean() > 150  # where the bar is in the first picture
    assert image[:, 20:].mean() < 100


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_who_hangs_up_before_a_picture_has_sent_nothing_that_cannot_be_decoded(answer):
    """`decode` would also take the decoder in hardware away from the camera."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            client, _ = listener.accept()
            client.recv(1000)
            client.sendall(answer)
            client.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(SourceFault) as caught:
            connect(parse_address(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/x"), time.time_ns)
        thread.join()
    assert caught.value.code is FaultCode.ENDED


def test_who_takes_a_connection_and_says_nothing_did_not_hang_up():
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SourceFault) as caught:
        connect(parse_address(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/x"), time.time_ns)
    assert caught.value.code is FaultCode.TIMEOUT
