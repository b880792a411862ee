"""Images build the console themselves: nothing that was built before enters them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

from crosscam_edge.server.web import BUILT

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "packaging" / "docker").glob("*.Dockerfile"))
CONSOLE = BUILT.relative_to(ROOT)
IGNORE = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]


def stages(path: Path) -> dict[str, list[str]]:
    """Return the instructions of each stage by its name; the last has none."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
    out: dict[str, list[str]] = {}
    name = "arguments"
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("FROM "):
            name = line.partition(" AS ")[2]
        out.setdefault(name, []).append(line)
    return out


def in_context(path: str) -> bool:
    """Tell as `.dockerignore` does: the last line about a path, or a folder of it, holds."""
    parts = PurePosixPath(path).parts
    above = ["/".join(parts[: k + 1]) for k in range(len(parts))]
    kept = True
    for line in IGNORE:
        pattern = line.removeprefix("!").removeprefix("**/")
        names = parts if "**/" in line else above
        if line == "*" or any(fnmatch(name, pattern) for name in names):
            kept = line.startswith("!")
    return kept


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_every_image_builds_the_console_and_puts_it_into_the_wheel(path: Path) -> None:
    found = stages(path)
    console, build = found["console"], found["build"]
    assert console == stages(DOCKERFILES[0])["console"]
    work = next(x for x in console if x.startswith("WORKDIR ")).split()[1]
    (target,) = re.findall(r'outDir: "(.+)"', (ROOT / "web" / "vite.config.ts").read_text())
    made = os.path.normpath(f"{work}/{target}")
    assert "RUN npm run build" in console
    copied = build.index(f"COPY --from=console {made} {CONSOLE.as_posix()}")
    (wheel,) = (k for k, x in enumerate(build) if "uv build --wheel" in x)
    assert build.index("COPY . .") < copied < wheel
    (extras,) = (x for x in build if x.startswith("ARG EXTRAS="))
    assert re.search(r"[\[,]server[\],]", extras)
    assert any("crosscam${EXTRAS} @" in x for x in build)
    images = [x for x in found["arguments"] if x.startswith("ARG PYTHON_IMAGE=")]
    assert len(images) == 1


def test_the_context_has_what_the_console_is_made_from_and_nothing_built() -> None:
    for name in ("web/package-lock.json", "web/src/main.tsx", "edge/crosscam_edge/server/web.py"):
        assert (ROOT / name).is_file()
        assert in_context(name), name
    for name in ("web/node_modules/a/b.js", f"{CONSOLE.as_posix()}/index.html", "site/a.mp4"):
        assert not in_context(name), name


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(1800)
def test_the_steps_of_an_image_make_a_wheel_with_the_console(tmp_path: Path) -> None:
    """No container: the very `RUN` lines, in a folder that holds what the context would."""
    context = tmp_path / "context"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(in_context, filter(None, listed)):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, context / name)
    found = stages(ROOT / "packaging" / "docker" / "cpu.Dockerfile")
    root = tmp_path / "image"
    web = root / "src" / "web"
    shutil.copytree(context / "web", web)
    for line in found["console"]:
        _run(line, root, web, found["console"])
    source = root / "build"
    shutil.copytree(context, source)
    shutil.copytree(root / "src" / CONSOLE, source / CONSOLE)
    (wheel,) = (x for x in found["build"] if "uv build --wheel" in x)
    for line in (*(x for x in found["build"] if "pip install" in x and "uv==" in x), wheel):
        _run(line.partition(" && python3 -m venv --without-pip")[0], root, source, found["build"])
    (built,) = (root / "dist").glob("crosscam-*.whl")
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    assert f"{CONSOLE.relative_to('edge').as_posix()}/index.html" in names
    assert any(re.search(r"/console/assets/.+\.js$", name) for name in names)


def _run(line: str, root: Path, folder: Path, stage: list[str]) -> None:
    """Run a `RUN` line with the defaults of its stage's arguments, under another root."""
    if not line.startswith("RUN "):
        return
    given = (x[4:].partition("=") for x in stage if x.startswith("ARG ") and "=" in x)
    values = {name: value.strip('"') for name, _, value in given if "$" not in value}
    command = re.sub(r"(?<![\w/])/(opt|dist)\b", f"{root}/\\1", line.removeprefix("RUN "))
    path = f"{root}/opt/node/bin{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True,
        env=os.environ | values | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, json.dumps(command) + done.stdout[-1500:] + done.stderr[-1500:]
