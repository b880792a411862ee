"""A copy of the sources in which kernels can be broken without touching the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kernels", "deploy", "trainer", "edge")
_TIMEOUT_S = 600
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", re.MULTILINE)
# An editable install sends every import to the checkout; the copy comes first without its finder.
_SITE = """import sys
sys.meta_path[:] = [f for f in sys.meta_path if not type(f).__name__.startswith("ScikitBuild")]
"""


class SandboxError(Exception):
    """The mutation cannot be tried: it does not apply, build, or the tests do not run."""


class Sandbox:
    """A copy of all files of the repository, brought up to date when made.

    Args:
        folder: Where it is kept, with what was built in it.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder.resolve() / "tree"
        self._build = folder.resolve() / "build"
        self._copy_sources()
        platlib = Path(sysconfig.get_path("platlib"))
        for module in platlib.glob("crosscam_*/**/*.so"):
            package = module.relative_to(platlib)
            owner = next(p for p in PACKAGES if (self.root / p / package.parts[0]).is_dir())
            shutil.copyfile(module, self.root / owner / package)

    def _copy_sources(self) -> None:
        """Copy what changed, so that the build goes on from where it was."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
        if self.root.exists():
            for path in self.root.rglob("*"):
                if path.is_file() and str(path.relative_to(self.root)) not in names:
                    path.unlink()
        for name in names:
            source, target = ROOT / name, self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file() or target.read_bytes() != source.read_bytes():
                shutil.copyfile(source, target)
        (self.root / "sitecustomize.py").write_text(_SITE)

    def build(self) -> None:
        """Build the kernels' native module from the sources as they are in the copy."""
        # Sooner compiled than -O3, and as nothing may reorder floats, it computes the same.
        config = [
            f"-DPython_EXECUTABLE={sys.executable}",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
        ]
        commands = [
            ["cmake", "--build", str(self._build), "--parallel", "2", "--target", "_native"]
        ]
        if not (self._build / "CMakeCache.txt").is_file():
            probe = [sys.executable, "-m", "nanobind", "--cmake_dir"]
            if subprocess.run(probe, capture_output=True).returncode:
                raise SandboxError("nanobind is not installed here: use `make mutation`")
            commands.insert(0, ["cmake", "-S", str(self.root), "-B", str(self._build), *config])
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SandboxError(f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr}")
        built = next((self._build / "kernels" / "csrc").glob("_native*.so"))
        shutil.copyfile(built, self.root / "kernels" / "crosscam_kernels" / built.name)

    @contextmanager
    def changed(self, file: str, changes: list[tuple[str, str]]) -> Iterator[None]:
        """Change a source file for as long as the block lasts.

        Raises:
            SandboxError: A text does not stand exactly once in the file.
        """
        path = self.root / file
        before = path.read_text(encoding="utf-8")
        after = before
        for find, replace in changes:
            if before.count(find) != 1:
                count = before.count(find)
                raise SandboxError(f"{file} holds {find!r} {count} times, expected once")
            after = after.replace(find, replace)
        try:
            path.write_text(after, encoding="utf-8")
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    def failing_test(self, arguments: list[str], *, interpret: bool) -> str | None:
        """Run pytest up to the first failure; return the test that failed, None when none did.

        Raises:
            SandboxError: pytest could not run the tests.
        """
        env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
        env["PYTHONPATH"] = os.pathsep.join(str(self.root / p) for p in (".", *PACKAGES))
        env["PYTHONDONTWRITEBYTECODE"] = "1"  # two changes within a second look like one
        env["CROSSCAM_HYPOTHESIS"] = "mutation"  # the first failing example is enough
        if interpret:
            env["TRITON_INTERPRET"] = "1"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
        try:
            done = subprocess.run(
                command, cwd=self.root, env=env, capture_output=True, text=True, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return "does not end"
        if done.returncode == 0:
            return None
        found = _FAILED.search(done.stdout)
        if done.returncode == 1 and found is not None:
            return found.group(1)
        if done.returncode < 0:
            return f"ended by signal {-done.returncode}"
        raise SandboxError(
            f"pytest could not run (status {done.returncode}):\n{done.stdout[-3000:]}"
        )
