"""Breaks the kernels on purpose and shows that the tests notice.

Each file `tests/mutation/<family>.toml` lists mutations: a text that stands exactly once in a
source file, what to put in its place, and the tests that must fail then. They are tried one after
another in a copy of the repository under `build/mutation`, where only what a change touches is
built again; those in C++ and those in Python beside each other.

    python tests/mutation/mutate.py [FAMILY ...] [--skip-native] [--only TEXT] [--table FILE]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sandbox import ROOT, Sandbox, SandboxError

_HEAD = """# Mutations

What `make mutation MUTATE="--table docs/reference/kernels/mutations.md"` found: how each kernel was
broken on purpose, one change at a time, and the first test that failed then. Lists and runner are
in `tests/mutation`; those without a row here have not been tried since they were written. Tests of
the GPU's kernels run in Triton's interpreter. A mutation may also end the test by a signal.
"""


@dataclass(frozen=True)
class Mutation:
    """One way to break a kernel.

    Attributes:
        breaks: What is broken, in words.
        file: Source file, from the root of the repository.
        find: Text that stands exactly once in it.
        replace: What it becomes.
        also: Further changes of the same file, each with `find` and `replace`.
        tests: Arguments of pytest: the tests that must notice.
        interpret: Whether the tests run Triton's interpreter.
    """

    breaks: str
    file: str
    find: str
    replace: str
    tests: list[str] = field(default_factory=list)
    interpret: bool = False
    also: list[dict[str, str]] = field(default_factory=list)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Texts and what they become."""
        return [(self.find, self.replace), *((c["find"], c["replace"]) for c in self.also)]

    @property
    def native(self) -> bool:
        """Whether it is C++, which must be built."""
        return self.file.endswith((".cpp", ".h", ".inl", ".cu"))


@dataclass(frozen=True)
class Outcome:
    """A mutation that was tried.

    Attributes:
        family: Name of its list.
        mutation: What was broken.
        test: The test that failed, or None when all passed: the mutation survived.
        error: Why it could not be tried; empty when it was.
        seconds: How long it took.
    """

    family: str
    mutation: Mutation
    test: str | None
    error: str
    seconds: float


def load(families: list[str]) -> list[tuple[str, Mutation]]:
    """Read the lists, all of them when none is named."""
    folder = Path(__file__).parent
    out = []
    for name in families or sorted(path.stem for path in folder.glob("*.toml")):
        content = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        defaults = content.get("tests", {})
        for entry in content["mutation"]:
            if isinstance(entry.get("tests"), str):  # the name of a list at the top of the file
                entry["tests"] = defaults[entry["tests"]]
            out.append((name, Mutation(**entry)))
    titles = [_title(family, mutation) for family, mutation in out]
    if twice := {title for title in titles if titles.count(title) > 1}:
        sys.exit(f"mutations of one family must be told apart by what they break: {sorted(twice)}")
    return out


def attempt(sandbox: Sandbox, family: str, mutation: Mutation) -> Outcome:
    """Apply a mutation and see which test fails."""
    start = time.perf_counter()
    test, error = None, ""
    try:
        with sandbox.changed(mutation.file, mutation.changes):
            if mutation.native:
                sandbox.build()
            test = sandbox.failing_test(mutation.tests, interpret=mutation.interpret)
    except SandboxError as problem:
        error = str(problem)
    outcome = Outcome(family, mutation, test, error, time.perf_counter() - start)
    word = "ERROR" if error else "SURVIVED" if test is None else "noticed"
    print(f"{word:9} {family}: {mutation.breaks} ({outcome.seconds:.0f} s) {error or test or ''}")
    sys.stdout.flush()
    return outcome


def attempt_all(entries: list[tuple[str, Mutation]], folder: Path) -> list[Outcome]:
    """Try mutations of one kind in a copy of their own.

    The tests that failed must pass on the unbroken sources; that is seen at the end, when it is
    known which they are.
    """
    if not entries:
        return []
    sandbox = Sandbox(folder)
    outcomes = [attempt(sandbox, family, mutation) for family, mutation in entries]
    if any(mutation.native for _, mutation in entries):
        sandbox.build()
    for interpret in (False, True):
        caught = [o.test for o in outcomes if o.test and o.mutation.interpret == interpret]
        tests = sorted({test for test in caught if "::" in test})
        if tests and (failed := sandbox.failing_test(tests, interpret=interpret)) is not None:
            raise SandboxError(f"{failed} fails on the unbroken sources too")
    return outcomes


def write_table(path: Path, outcomes: list[Outcome]) -> None:
    """Write what was found into a page; rows of mutations that were not tried stay as they are."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    rows = {match[1]: match[0] for match in re.finditer(r"^\| (.*?) \| `.*$", text, re.MULTILINE)}
    for outcome in outcomes:
        test = "**none**"
        if outcome.test is not None:
            test = f"`{outcome.test.removeprefix('tests/').replace('|', '/')}`"
        file = Path(outcome.mutation.file).name
        title = _title(outcome.family, outcome.mutation)
        rows[title] = f"| {title} | `{file}` | {test} |"
    lines = [_HEAD, "| broken | in | noticed by |", "|---|---|---|"]
    for family, mutation in load([]):
        lines += [rows[title]] if (title := _title(family, mutation)) in rows else []
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _title(family: str, mutation: Mutation) -> str:
    return f"**{family}**: {mutation.breaks}".replace("|", "/")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("families", nargs="*", help="names of the lists; all when left out")
    parser.add_argument("--skip-native", action="store_true", help="leave C++ out")
    parser.add_argument("--skip-python", action="store_true", help="leave Python and Triton out")
    parser.add_argument("--only", default="", help="those whose description holds this text")
    parser.add_argument("--table", type=Path, help="page in which to update the results")
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutation")
    chosen = parser.parse_args()
    entries = [(f, m) for f, m in load(chosen.families) if chosen.only in m.breaks]
    native = [(f, m) for f, m in entries if m.native and not chosen.skip_native]
    python = [(f, m) for f, m in entries if not m.native and not chosen.skip_python]
    with ThreadPoolExecutor(2) as pool:
        kinds = [
            pool.submit(attempt_all, native, chosen.folder / "native"),
            pool.submit(attempt_all, python, chosen.folder / "python"),
        ]
        try:
            outcomes = [outcome for kind in kinds for outcome in kind.result()]
        except SandboxError as problem:
            sys.exit(str(problem))
    survived = [outcome for outcome in outcomes if outcome.test is None]
    print(f"{len(outcomes) - len(survived)} of {len(outcomes)} mutations noticed")
    for outcome in survived:
        print(f"  {outcome.family}: {outcome.mutation.breaks}: {outcome.error or 'survived'}")
    if chosen.table:
        write_table(chosen.table, outcomes)
    if chosen.output:
        rows = [asdict(outcome) for outcome in outcomes]
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
