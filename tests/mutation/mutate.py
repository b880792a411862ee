"""Breaks the kernels on purpose and shows that the tests notice.

Each file `tests/mutation/<family>.toml` lists mutations: a text that stands exactly once in a
source file, what to put in its place, and the tests that must fail then. Sources are changed in
place, one at a time, and always put back; files with changes of your own are refused. C++ is built
in `build/mutation` and the module swapped in the environment meanwhile.

    python tests/mutation/mutate.py [FAMILY ...] [--skip-native] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutation"
_FAILED = 1  # pytest's exit status when tests failed; others mean that it could not run them
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Mutation:
    """One way to break a kernel.

    Attributes:
        breaks: What is broken, in words.
        file: Source file, from the root of the repository.
        find: Text that stands exactly once in it.
        replace: What it becomes.
        tests: Arguments of pytest: the tests that must notice.
        interpret: Whether the tests run Triton's interpreter.
    """

    breaks: str
    file: str
    find: str
    replace: str
    tests: list[str] = field(default_factory=list)
    interpret: bool = False

    @property
    def native(self) -> bool:
        """Whether it is C++, which must be built."""
        return self.file.endswith((".cpp", ".h", ".inl", ".cu"))


def load(families: list[str]) -> dict[str, list[Mutation]]:
    """Read the lists, all of them when none is named."""
    folder = Path(__file__).parent
    names = families or sorted(path.stem for path in folder.glob("*.toml"))
    out = {}
    for name in names:
        content = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        defaults = content.get("tests", {})
        out[name] = []
        for entry in content["mutation"]:
            if isinstance(entry.get("tests"), str):  # the name of a list at the top of the file
                entry["tests"] = defaults[entry["tests"]]
            out[name].append(Mutation(**entry))
    return out


@contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """Change the source file for as long as the block lasts."""
    path = ROOT / mutation.file
    before = path.read_text(encoding="utf-8")
    found = before.count(mutation.find)
    if found != 1:
        sys.exit(f"{mutation.file} holds {mutation.find!r} {found} times, expected once")
    try:
        path.write_text(before.replace(mutation.find, mutation.replace), encoding="utf-8")
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def build() -> Path:
    """Build the native module of the sources as they are; return it."""
    nanobind = subprocess.run(
        [sys.executable, "-m", "nanobind", "--cmake_dir"], capture_output=True, text=True
    )
    if nanobind.returncode:
        sys.exit("nanobind is not installed here: use `make mutation`")
    commands = [
        ["cmake", "-S", str(ROOT), "-B", str(BUILD), f"-DPython_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", str(BUILD), "--parallel", "2", "--target", "_native"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return next((BUILD / "kernels" / "csrc").glob("_native*.so"))


def installed() -> Path:
    """Return the native module that tests load."""
    folder = Path(sysconfig.get_path("platlib")) / "crosscam_kernels"
    return next(folder.glob("_native*.so"))


def run_tests(arguments: list[str], *, interpret: bool) -> int:
    """Run pytest up to the first failure; return its exit status."""
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    if interpret:
        env["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return _FAILED  # a mutant that hangs is noticed
    return done.returncode


def noticed(mutation: Mutation, module: Path | None) -> bool:
    """Apply a mutation and say whether the tests fail."""
    with applied(mutation):
        if mutation.native and module is not None:
            shutil.copyfile(build(), module)
        status = run_tests(mutation.tests, interpret=mutation.interpret)
    if status not in (0, _FAILED):
        sys.exit(f"{mutation.file}, {mutation.breaks}: pytest could not run (status {status})")
    return status == _FAILED


def refuse_own_changes(mutations: list[Mutation]) -> None:
    """Stop where a source file is not as it was committed."""
    files = sorted({mutation.file for mutation in mutations})
    command = ["git", "status", "--porcelain", "--", *files]
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if changed:
        sys.exit(f"files with changes of your own:\n{changed}commit or stash them first")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("families", nargs="*", help="names of the lists; all when left out")
    parser.add_argument("--skip-native", action="store_true", help="leave C++ out")
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    chosen = parser.parse_args()
    lists = load(chosen.families)
    everything = [mutation for entries in lists.values() for mutation in entries]
    refuse_own_changes(everything)
    native = not chosen.skip_native and any(mutation.native for mutation in everything)
    module = installed() if native else None
    kept = module.read_bytes() if module else b""
    rows = []
    try:
        if module is not None:
            shutil.copyfile(build(), module)
        for family, entries in lists.items():
            wanted = [m for m in entries if not (m.native and chosen.skip_native)]
            for interpret in (False, True):
                tests = sorted({t for m in wanted if m.interpret == interpret for t in m.tests})
                if tests and run_tests(tests, interpret=interpret) != 0:
                    sys.exit(f"{family}: the tests fail on the unbroken sources already")
            for mutation in wanted:
                start = time.perf_counter()
                caught = noticed(mutation, module)
                rows.append({"family": family, "noticed": caught, **asdict(mutation)})
                word = "noticed" if caught else "SURVIVED"
                print(
                    f"{word:9} {family}: {mutation.breaks} ({mutation.file}, "
                    f"{time.perf_counter() - start:.0f} s)",
                    flush=True,
                )
    finally:
        if module is not None:
            module.write_bytes(kept)
    survived = sum(not row["noticed"] for row in rows)
    print(f"{len(rows) - survived} of {len(rows)} mutations noticed")
    if chosen.output:
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(survived > 0)


if __name__ == "__main__":
    main()
