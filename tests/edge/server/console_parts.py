"""The console in a real Chromium, before a real `crosscam run`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from crosscam_edge.server.tokens import Role, create_token

ROOT = Path(__file__).parents[3]
CONSOLE = ROOT / "edge" / "crosscam_edge" / "server" / "console"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def chromium_path():
    """Return Chromium's path; skips where it, or the console, is missing."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("needs Chromium (apt install chromium)")
    if not (CONSOLE / "index.html").is_file():
        pytest.skip("needs the console: make web")
    return program


def needed():
    """Return Chromium's path and the folder of footage; skips where something is missing."""
    program = chromium_path()
    videos = Path(os.environ.get("CROSSCAM_ASSETS", "")) / "videos"
    if not (videos / "vtest.avi").is_file():
        pytest.skip("needs the footage of CROSSCAM_ASSETS")
    return program, videos


@contextmanager
def browser(program):
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=_FLAGS.split())
        try:
            yield found
        finally:
            found.close()


def breaches(page):
    """Return what axe-core finds wrong on a page, by the rules of WCAG 2.2 A and AA and its own.

    Each is the rule, and what in the page breaks it.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
          .flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 200)} ${
            node.any[0]?.message ?? ""}`))"""
    )
    return [str(each) for each in found]


class Site:
    """A run of real footage that is asked over HTTP; can be ended and begun again."""

    def __init__(self, folder, videos):
        self.folder = folder
        self.file = folder / "site.yaml"
        cameras = [
            {"id": "street", "video": str(videos / "vtest.avi")},
            {"id": "door", "video": str(videos / "one-by-one-person-detection.mp4")},
            {"id": "dead", "url": "rtsp://127.0.0.1:1/x"},
        ]
        self.settings = {
            "cameras": cameras, "detector": "motion", "embedder": "colour", "process_fps": 6,
        }  # fmt: skip
        self.file.write_text(json.dumps(self.settings))
        tokens = folder / "tokens.json"
        self.tokens = {role: create_token(tokens, Role(role), name=role)[1] for role in Role}
        self.tokens["door"] = create_token(tokens, Role.VIEWER, name="desk", cameras=["door"])[1]
        self.address = "127.0.0.1:0"
        self.run = None

    def start(self):
        self.run = subprocess.Popen(
            [
                sys.executable, "-c", "from crosscam_edge.cli import main; main()", "run",
                str(self.file), "-o", str(self.folder / "out"), "--listen", self.address,
                "--tokens", str(self.folder / "tokens.json"), "--json",
            ],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        line = next(each for each in self.run.stderr if "listening on" in each)
        self.url = line.split()[-1].removesuffix("/api/v1")
        self.address = self.url.removeprefix("http://")

    def calm(self):
        """Go on with what is known so far, and cameras that see nobody any more."""
        self.stop()
        cameras = [
            {"id": each["id"], "url": "rtsp://127.0.0.1:1/x"} for each in self.settings["cameras"]
        ]
        self.file.write_text(json.dumps({**self.settings, "cameras": cameras}))
        self.start()

    def go_on(self):
        """Have the cameras see again."""
        self.stop()
        self.file.write_text(json.dumps(self.settings))
        self.start()

    def stop(self):
        self.run.terminate()
        self.run.communicate(timeout=60)


# Basics of WCAG that a program can see: names of what can be used, contrast of text, one heading.
AUDIT = r"""
() => {
  const found = [];
  const name = (e) => {
    const by = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean)
      .map((id) => document.getElementById(id)?.textContent || "").join(" ");
    const labels = [...(e.labels || [])].map((l) => l.textContent).join(" ");
    return (by || e.getAttribute("aria-label") || labels || e.textContent || e.title || "").trim();
  };
  const shown = (e) => e.checkVisibility({ checkOpacity: true, visibilityProperty: true });
  const usable = "a[href],button,input,select,textarea,summary,[tabindex='0'],[role=button]";
  for (const e of document.querySelectorAll(usable)) {
    if (shown(e) && !name(e)) found.push("no name: " + e.outerHTML.slice(0, 120));
  }
  for (const e of document.querySelectorAll("img:not([alt]),canvas:not([aria-label])")) {
    found.push("no text: " + e.outerHTML.slice(0, 120));
  }
  for (const e of document.querySelectorAll("svg[role=img]:not([aria-label])")) {
    found.push("no text: " + e.outerHTML.slice(0, 120));
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push("twice: #" + id);
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  if (!document.documentElement.lang) found.push("no language");
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    pixel.globalCompositeOperation = "copy";
    pixel.fillStyle = under ? `rgb(${under.join(" ")})` : "transparent";
    pixel.fillRect(0, 0, 1, 1);
    pixel.globalCompositeOperation = "source-over";
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data];
  };
  const ground = (e) => {
    const up = [];
    for (let at = e; at; at = at.parentElement) up.unshift(getComputedStyle(at).backgroundColor);
    return up.reduce((under, colour) => rgb(colour, under).slice(0, 3), [255, 255, 255]);
  };
  const light = ([r, g, b]) => [r, g, b]
    .map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !shown(e) || e.closest(":disabled,svg")) continue;
    if (e.closest(".screen")) continue;  // over a picture
    const under = ground(e);
    const [a, b] = [light(under), light(rgb(getComputedStyle(e).color, under))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${texts.currentNode.textContent}`);
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`wider than the window: ${wide} > ${innerWidth}`);
  return [...new Set(found)];
}
"""
