"""Photograph the console before a real run of a simulated site: pictures for the guide, and a tour.

    crosscam simulate -o site --people 12 --seconds 90
    python tools/console_tour.py site -o docs/images

Everybody in it is simulated. Needs `make web`, Chromium, and the extras dev and server. Written:

* ``web-PAGE.webp``: each page dark, light and on a phone, side by side; ``web-stays.webp``: a
  person's stays as a table;
* ``web-tour.webp``: watch, people, journey, search, map, cameras, as an animation of a minute.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page, sync_playwright

from crosscam_edge.server.tokens import Role, create_token

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDE, PHONE = (1180, 860), (390, 800)
LOOKS = (("dark", WIDE), ("light", WIDE), ("light", PHONE))
TALL = 700  # pixels of a picture in the guide
TOUR = (1000, 728)
CAPTION = 44  # pixels below the pictures of the tour
_MAIN = "from crosscam_edge.cli import main; main()"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@contextmanager
def running(site: Path, folder: Path, more: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Run a simulated site; yields the address of the console and a token of an admin."""
    cameras = [
        {"id": each["id"], "video": each["video"]}
        for each in yaml.safe_load((site / "site.yaml").read_text())["cameras"]
    ]
    (folder / "videos").symlink_to((site / "videos").resolve())
    (folder / "site.yaml").write_text(json.dumps({"cameras": cameras, **more}))
    token = create_token(folder / "tokens.json", Role.ADMIN, name="tour")[1]
    command = ["run", "site.yaml", "-o", "out", "--listen", "127.0.0.1:0", "--json"]
    run = subprocess.Popen(
        [sys.executable, "-c", _MAIN, *command, "--tokens", "tokens.json"],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert run.stderr is not None
        line = next((each for each in run.stderr if "listening on" in each), None)
        assert line is not None, "crosscam run did not begin"
        yield line.split()[-1].removesuffix("/api/v1"), token
    finally:
        run.terminate()
        run.wait(60)


def somebody(base: str, token: str) -> int:
    """Return who was seen by the most cameras by now, most often."""
    answer = httpx.get(
        f"{base}/api/v1/identities?limit=200",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    people = answer.raise_for_status().json()["identities"]
    assert people, "nobody was seen: wait longer"
    best = max(people, key=lambda each: (len(each["cameras"]), each["tracklets"]))
    return int(best["global_id"])


def shot(page: Page) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def go(page: Page, where: str) -> None:
    page.evaluate("where => { location.hash = where }", f"#/{where}")
    page.wait_for_selector("main h1")
    page.wait_for_function("() => !document.querySelector('main .spinner')")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(2500)  # pictures come after the words
    assert page.query_selector("main [role=alert]") is None, f"{where} tells of a failure"


def table_of(page: Page) -> Image.Image:
    """Return a picture of somebody's stays as a table."""
    page.click("details.stays summary")
    page.eval_on_selector("#journey", "heading => heading.scrollIntoView({ block: 'start' })")
    page.evaluate("scrollBy(0, -90)")  # the head of the console stands above it
    page.wait_for_timeout(500)
    return shot(page)


def without_folder(page: Page, folder: str) -> None:
    """Take the folder of this run out of what is shown: the machine is nobody's business."""
    page.evaluate(
        """folder => {
          const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (texts.nextNode()) {
            texts.currentNode.data = texts.currentNode.data.replaceAll(`${folder}/`, "");
          }
        }""",
        folder,
    )


def until_people(page: Page, least: int) -> None:
    """Wait until so many are in the live pictures, or for a while."""
    ends = time.monotonic() + 30
    while page.locator(".tile-people a.person").count() < least and time.monotonic() < ends:
        page.wait_for_timeout(300)


def side_by_side(images: list[Image.Image]) -> Image.Image:
    scaled = [each.resize((each.width * TALL // each.height, TALL)) for each in images]
    gap = 12
    width = sum(each.width for each in scaled) + gap * (len(scaled) - 1)
    found, x = Image.new("RGB", (width, TALL), "white"), 0
    for each in scaled:
        found.paste(each, (x, 0))
        x += each.width + gap
    return found


def save_small(image: Image.Image, path: Path, most: int = 150_000) -> None:
    """Write a picture with the best quality that is not larger than it may be."""
    for quality in range(82, 20, -6):
        image.save(path, quality=quality, method=6)
        if path.stat().st_size <= most:
            return
    raise SystemExit(f"{path}: larger than {most} bytes")


def captioned(image: Image.Image, text: str) -> Image.Image:
    found = Image.new("RGB", (TOUR[0], TOUR[1] + CAPTION), "#101418")
    found.paste(image.resize(TOUR), (0, 0))
    font = ImageFont.load_default(size=22)
    ImageDraw.Draw(found).text((18, TOUR[1] + 8), text, fill="white", font=font)
    return found


def tour_of(page: Page, who: int) -> list[tuple[Image.Image, int]]:
    """Return the pictures of the tour, and how long each stands, in milliseconds."""
    found = []
    go(page, "live")
    until_people(page, 3)
    words = "1. Watch: every camera, one colour and one id for each person"
    for _ in range(14):
        found.append((captioned(shot(page), words), 850))
        page.wait_for_timeout(500)
    steps = (
        ("identities", "2. People: who is kept, where they were seen, newest ids first"),
        (f"identities/{who}", f"3. Journey: where person {who} was, and what happened to the id"),
        (f"search?like={who}", f"4. Search: who looks like person {who}"),
        ("map", "5. Map: the ways between cameras, and the time that people take"),
        ("cameras", "6. Cameras: how each of them is, and what to do about it"),
    )
    for where, words in steps:
        go(page, where)
        found.append((captioned(shot(page), words), 4800))
        page.mouse.wheel(0, 420)
        page.wait_for_timeout(1500)
        found.append((captioned(shot(page), words), 4800))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder of `crosscam simulate`")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=150.0, help="to run before the pictures")
    parser.add_argument("--fps", type=float, default=5.0, help="pictures a second to look at")
    parser.add_argument("--detector", default="crosscam-detector")
    parser.add_argument("--embedder", default="crosscam-reid")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    settings = {"detector": args.detector, "embedder": args.embedder, "process_fps": args.fps}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(args.site, Path(folder), settings) as (base, token),
        sync_playwright() as playwright,
    ):
        time.sleep(args.seconds)
        browser = playwright.chromium.launch(executable_path=args.chromium, args=FLAGS)
        pages, images = [], []
        for scheme, (width, height) in LOOKS:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page = context.new_page()
            page.set_default_timeout(90_000)
            page.goto(base + "/")
            page.wait_for_selector("#token")
            images.append(shot(page))
            page.fill("#token", token)
            page.keyboard.press("Enter")
            page.wait_for_selector(".connection.live")
            pages.append(page)
        save_small(side_by_side(images), args.output / "web-sign-in.webp")
        who = somebody(base, token)
        shown = {
            "live": "live", "people": "identities", "person": f"identities/{who}",
            "search": f"search?like={who}", "cameras": "cameras", "map": "map",
            "settings": "settings",
        }  # fmt: skip
        for name, where in shown.items():
            images, tables = [], []
            for page in pages:
                go(page, where)
                if name == "live":
                    until_people(page, 3)
                without_folder(page, folder)
                images.append(shot(page))
                if name == "person":
                    tables.append(table_of(page))
                if name == "live":
                    page.evaluate("location.hash = '#/settings'")  # one stream at a time
            save_small(side_by_side(images), args.output / f"web-{name}.webp")
            if tables:
                save_small(side_by_side(tables), args.output / "web-stays.webp")
        frames = tour_of(pages[0], somebody(base, token))
        browser.close()
    path = args.output / "web-tour.webp"
    frames[0][0].save(
        path, save_all=True, append_images=[each for each, _ in frames[1:]],
        duration=[each for _, each in frames], loop=0, quality=60, method=4,
    )  # fmt: skip
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {len(frames)} pictures")


if __name__ == "__main__":
    main()
