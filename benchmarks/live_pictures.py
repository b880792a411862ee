"""Ways to show what cameras see in a browser, and what each costs: measured in a real Chromium.

The same pictures of the same cameras go from one server to one page, for as long and as often:

* *stream*: JPEGs with a header each, in one answer that never ends, as `GET /live` has them;
* *websocket*: the very same, as messages of a WebSocket;
* *mjpeg*: `multipart/x-mixed-replace` in an `<img>` for each camera: no headers, so no boxes, and
  nobody can tell which picture is shown; of one server a browser opens six at a time over HTTP/1.1;
* *video*: H.264 in a WebSocket, encoded for each page that looks, as WebRTC does, by libx264 at its
  quickest: what WebRTC would cost at least, without its own protocol.

Told of each: pictures a second that were drawn, their age when they were, bytes, and processor
time of the server and of all of Chromium. Each way is measured with one page and with several.

    python benchmarks/live_pictures.py SITE --output benchmarks/results/live_pictures.json

SITE is a folder of `crosscam simulate`; playwright, uvicorn with websockets and a Chromium are
needed. It means something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.applications import Starlette

WAYS = ("stream", "websocket", "mjpeg", "video")
FPS, HEIGHT, QUALITY, CAMERAS = 5.0, 360, 75, 8
_FRAMES = 100  # of each camera, over and over
_PAGE = """<!doctype html><meta charset=utf-8><body><script>
const way = "WAY", count = COUNT, ages = [];
const shown = [...Array(count)].map((_, k) => {
  const made = document.createElement(way === "mjpeg" ? "img" : "canvas");
  if (way === "mjpeg") made.src = "/mjpeg/" + k;
  made.style.width = "300px";
  return document.body.appendChild(made);
});
const draw = (k, ns, picture, width, height) => {
  const canvas = shown[k];
  if (canvas.width !== width) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.strokeRect(20, 20, 40, 90);
  picture.close();
  ages.push(performance.timeOrigin + performance.now() - ns / 1e6);
};
const decoders = shown.map((_, k) => way !== "video" ? null : new VideoDecoder({
  output: frame => draw(k, frame.timestamp * 1e3, frame, frame.displayWidth, frame.displayHeight),
  error: error => { document.title = String(error); },
}));
decoders.forEach(each => each && each.configure({codec: "avc1.42001f", optimizeForLatency: true}));
const take = async (head, body) => {
  if (way === "video") {
    decoders[head.camera].decode(new EncodedVideoChunk({
      type: head.key ? "key" : "delta", timestamp: head.ns / 1e3, data: body}));
  } else {
    const picture = await createImageBitmap(new Blob([body], {type: "image/jpeg"}));
    draw(head.camera, head.ns, picture, picture.width, picture.height);
  }
};
const apart = data => {
  const size = new DataView(data.buffer, data.byteOffset).getUint32(0);
  return [JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + size))), 4 + size];
};
const stream = async () => {
  const reader = (await fetch("/stream")).body.getReader();
  let rest = new Uint8Array(0);
  for (;;) {
    const {value} = await reader.read();
    const data = new Uint8Array(rest.length + value.length);
    data.set(rest); data.set(value, rest.length);
    rest = data;
    while (rest.length > 4) {
      const size = new DataView(rest.buffer, rest.byteOffset).getUint32(0);
      if (rest.length < 4 + size) break;
      const [head, at] = apart(rest);
      if (rest.length < at + head.bytes) break;
      take(head, rest.slice(at, at + head.bytes));
      rest = rest.slice(at + head.bytes);
    }
  }
};
const socket = path => {
  const made = new WebSocket("ws://" + location.host + path);
  made.binaryType = "arraybuffer";
  made.onmessage = event => {
    const data = new Uint8Array(event.data), [head, at] = apart(data);
    take(head, data.subarray(at));
  };
};
if (way === "stream") stream();
if (way === "websocket") socket("/pictures");
if (way === "video") socket("/video");
</script>"""


class Pictures:
    """What the cameras see, at the rate that is shown; everybody gets the same ones.

    Args:
        folder: Of a simulated site.
    """

    def __init__(self, folder: Path) -> None:
        videos = sorted((folder / "videos").glob("cam*.mp4"))[:CAMERAS]
        self.cameras = [list(_frames(video)) for video in videos]
        self.bytes_sent = 0
        self._number, self._jpegs = -1, [b""] * len(self.cameras)

    def image(self, camera: int, number: int) -> np.ndarray:
        """Return a picture, BGR."""
        frames = self.cameras[camera]
        return frames[number % len(frames)]

    def jpegs(self, number: int) -> list[bytes]:
        """Return the pictures of all cameras, encoded once for all that look."""
        if number != self._number:
            kind = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            self._jpegs = [
                cv2.imencode(".jpg", self.image(k, number), kind)[1].tobytes()
                for k in range(len(self.cameras))
            ]
            self._number = number
        return self._jpegs


def _frames(video: Path) -> Iterator[np.ndarray]:
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == _FRAMES:
                return
            width = round(frame.width * HEIGHT / frame.height) // 2 * 2
            yield frame.reformat(width, HEIGHT, "bgr24").to_ndarray()


async def _ticks() -> AsyncIterator[int]:
    """Yield numbers of pictures at the rate, the same for everybody."""
    while True:
        number = int(time.time() * FPS) + 1
        await asyncio.sleep(max(0.0, number / FPS - time.time()))
        yield number


def _framed(body: bytes, **head: Any) -> bytes:
    text = json.dumps(head | {"bytes": len(body), "ns": time.time_ns()}).encode()
    return struct.pack(">I", len(text)) + text + body


class _Video:
    """An encoder of one camera for one page."""

    def __init__(self, image: np.ndarray) -> None:
        self._codec: Any = av.CodecContext.create("libx264", "w")
        self._codec.height, self._codec.width = image.shape[:2]
        self._codec.pix_fmt, self._codec.gop_size = "yuv420p", round(2 * FPS)
        self._codec.time_base = Fraction(1, round(FPS))
        self._codec.thread_count = 1
        self._codec.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}

    def encode(self, image: np.ndarray) -> Any:
        return self._codec.encode(av.VideoFrame.from_ndarray(image, format="bgr24"))


def make_app(pictures: Pictures) -> Starlette:
    """Return the server of all ways."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocketDisconnect

    def counted(data: bytes) -> bytes:
        pictures.bytes_sent += len(data)
        return data

    async def page(request: Any) -> Any:
        text = _PAGE.replace("WAY", request.path_params["way"], 1)
        return HTMLResponse(text.replace("COUNT", str(len(pictures.cameras)), 1))

    async def stream(_request: Any) -> Any:
        async def body() -> AsyncIterator[bytes]:
            async for number in _ticks():
                for camera, jpeg in enumerate(pictures.jpegs(number)):
                    yield counted(_framed(jpeg, camera=camera))

        return StreamingResponse(body(), media_type="application/octet-stream")

    async def mjpeg(request: Any) -> Any:
        camera = int(request.path_params["camera"])

        async def body() -> AsyncIterator[bytes]:
            async for number in _ticks():
                jpeg = pictures.jpegs(number)[camera]
                head = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                yield counted(head + jpeg + b"\r\n")

        return StreamingResponse(body(), media_type="multipart/x-mixed-replace; boundary=x")

    async def websocket(socket: Any) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            async for number in _ticks():
                for camera, jpeg in enumerate(pictures.jpegs(number)):
                    await socket.send_bytes(counted(_framed(jpeg, camera=camera)))

    async def video(socket: Any) -> None:
        await socket.accept()
        encoders = [_Video(frames[0]) for frames in pictures.cameras]
        with suppress(WebSocketDisconnect):
            async for number in _ticks():
                for camera, encoder in enumerate(encoders):
                    for packet in encoder.encode(pictures.image(camera, number)):
                        data = _framed(bytes(packet), camera=camera, key=packet.is_keyframe)
                        await socket.send_bytes(counted(data))

    async def sent(_request: Any) -> Any:
        return JSONResponse(pictures.bytes_sent)

    return Starlette(
        routes=[
            Route("/page/{way}", page),
            Route("/stream", stream),
            Route("/mjpeg/{camera}", mjpeg),
            Route("/sent", sent),
            WebSocketRoute("/pictures", websocket),
            WebSocketRoute("/video", video),
        ]
    )


def _spent(processes: list[psutil.Process]) -> float:
    total = 0.0
    for each in processes:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def measure(browser: Any, url: str, server: psutil.Process, way: str, pages: int) -> dict[str, Any]:
    """Look at one way in some pages for a while."""
    contexts = [browser.new_context() for _ in range(pages)]  # as if by several people
    opened = [each.new_page() for each in contexts]
    for each in opened:
        each.goto(f"{url}/page/{way}", wait_until="commit")  # images that never end never load
    time.sleep(4)
    for each in opened:
        each.evaluate("() => { ages.length = 0; }")

    def sent() -> int:
        with urllib.request.urlopen(f"{url}/sent", timeout=30) as answer:
            return int(json.load(answer))

    me = psutil.Process()
    children = [each for each in me.children(recursive=True) if each.pid != server.pid]
    chromium = [each for each in children if "chrom" in each.name()]
    before, used, bytes_before, began = _spent([server]), _spent(chromium), sent(), time.monotonic()
    time.sleep(20)
    seconds = time.monotonic() - began
    cpu, browser_cpu = _spent([server]) - before, _spent(chromium) - used
    moved = sent() - bytes_before
    ages = np.concatenate([each.evaluate("() => ages") for each in opened])
    trouble = [title for each in opened if (title := each.title())]
    for each in contexts:
        each.close()
    return {
        "way": way,
        "pages": pages,
        "drawn_a_second": round(len(ages) / seconds, 1) if way != "mjpeg" else None,
        "age_ms": {f"p{q}": round(float(np.percentile(ages, q)), 1) for q in (50, 95)}
        if len(ages)
        else None,
        "kib_a_second": round(moved / seconds / 1024, 1),
        "server_cpu_share": round(cpu / seconds, 3),
        "chromium_cpu_share": round(browser_cpu / seconds, 3),
        **({"trouble": trouble} if trouble else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder of a simulated site")
    parser.add_argument("--pages", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--chromium", help="path of a browser; Playwright's own if left out")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.serve:
        import uvicorn

        uvicorn.run(make_app(Pictures(args.site)), port=args.serve, log_level="warning")
        return
    from chaos_site import free_port, listens, wait_for
    from playwright.sync_api import sync_playwright

    port, table = free_port(), []
    with subprocess.Popen([sys.executable, __file__, args.site, "--serve", str(port)]) as server:
        try:
            wait_for(lambda: listens(port), "the server")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=args.chromium, args=["--no-sandbox"]
                )
                for pages in args.pages:
                    for way in WAYS:
                        url = f"http://127.0.0.1:{port}"
                        found = measure(browser, url, psutil.Process(server.pid), way, pages)
                        table.append(found)
                        print(json.dumps(found), flush=True)
                browser.close()
        finally:
            server.kill()
    if args.output:
        args.output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
