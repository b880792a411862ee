"""`verify`: the run itself. Each candidate has a process; answers come first, then time."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.engines.store import load_engine
from crosscam_deploy.verify.accuracy import detect_accuracy, embed_accuracy
from crosscam_deploy.verify.answers import Answers
from crosscam_deploy.verify.engine_rows import facts
from crosscam_deploy.verify.gates import refusals
from crosscam_deploy.verify.machine import Busyness, describe, load
from crosscam_deploy.verify.timing import Clocked, Plan, summary, take_turns
from crosscam_deploy.verify.types import Accuracy, Gates, Report, Row, Speed
from crosscam_deploy.verify.worker import UnusableError, Worker
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.manifest import Manifest
    from crosscam_deploy.verify.data import VerifyData
    from crosscam_deploy.verify.types import Candidate, EngineFacts, Role, Status


class Progress(Protocol):
    """Hears what is being done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take the news: in words, and how many steps are done of how many."""
        ...


@dataclass
class _Subject:
    """A candidate on its way to a row."""

    role: Role
    candidate: Candidate
    name: str
    manifest: Manifest | None = None
    file_bytes: int | None = None
    clocked: Clocked | None = None
    ran_precision: str = ""
    open_ms: float | None = None
    peak: int | None = None
    running: int | None = None
    answers: Answers | None = None
    accuracy: Accuracy | None = None
    failed: str = ""
    speed: list[Speed] = field(default_factory=list)
    engine: EngineFacts | None = None

    def row(self, gates: Gates) -> Row:
        """Return the row."""
        reasons: tuple[str, ...] = (self.failed,) if self.failed else ()
        if not self.failed and self.role == "candidate":
            assert self.accuracy is not None
            reasons = refusals(gates, self.accuracy, self.speed)
        status: Status = "failed" if self.failed else "refused" if reasons else "passed"
        manifest = self.manifest
        return Row(
            role=self.role,
            candidate=self.candidate,
            model=manifest.name if manifest else self.name,
            model_id=manifest.model_id if manifest else None,
            graph_precision=manifest.precision if manifest else "f32",
            float_nodes=manifest.float_nodes if manifest else 0,
            ran_precision=self.ran_precision,
            status=status,
            reasons=reasons,
            file_bytes=self.file_bytes,
            open_ms=self.open_ms,
            peak_memory_bytes=self.peak,
            running_memory_bytes=self.running,
            accuracy=self.accuracy,
            speed=tuple(self.speed),
            engine=self.engine,
        )


def verify(
    reference: Candidate,
    candidates: Sequence[Candidate],
    data: VerifyData,
    *,
    batches: Sequence[int] = (1, 8),
    gates: Gates | None = None,
    baseline: Candidate | None = None,
    rounds: int = 5,
    seconds: float = 0.3,
    limit_s: float = 600.0,
    at_once: int = 6,
    progress: Progress | None = None,
) -> Report:
    """Compare candidates with a reference on pictures.

    Every candidate is opened in a process of its own and answers all pictures; what it answers is
    judged, and answered again with each batch size, before anything is timed. Then the candidates
    take turns (`timing`). One that cannot be opened, crashes, hangs or answers with something that
    is no number becomes a row that says so.

    Args:
        reference: Whose answers are right: usually the model as it was trained, in float32.
        candidates: What to judge.
        data: Real pictures, crops or frames as the task asks.
        batches: Batch sizes to time.
        gates: What candidates must reach; the defaults of `Gates` if not given.
        baseline: What speed is told in multiples of.
        rounds: Turns of each candidate; 0 to compare answers only, and time nothing.
        seconds: Least length of a turn at one batch size.
        limit_s: Longest wait for one answer of a candidate's process, in seconds.
        at_once: Candidates that are open at the same time, beside the reference and the baseline.
        progress: Hears what is being done.

    Raises:
        InputError: The reference is not a bundle, the pictures are not for its task, or a gate asks
            for what is not measured.
        RunError: The reference itself gives no answers.
    """
    bundle = load_bundle(reference.bundle)
    counted = data.summary()
    if (counted.kind == "crops") != (bundle.manifest.task == "embed"):
        raise InputError(
            f"the model '{bundle.manifest.name}' was given {counted.kind}",
            expected="crops of people for an embedder, frames for a detector",
            fix="give --frames" if counted.kind == "crops" else "give --crops",
        )
    sizes = tuple(sorted(set(batches)))
    if not sizes or sizes[0] < 1 or rounds < 0:
        raise InputError(
            f"batches {list(batches)}, rounds {rounds}", expected="batches of 1 or more; rounds ≥ 0"
        )
    limits = gates or Gates()
    if limits.min_ratio is not None and (baseline is None or not rounds):
        raise InputError(
            f"the gate min_ratio={limits.min_ratio:g} without a timed baseline",
            expected="something to be faster than",
            fix="time the baseline as well, or leave the gate out",
        )
    before = load()
    with tempfile.TemporaryDirectory(prefix="crosscam-verify-") as folder:
        run = _Run(Path(folder), data, Plan(sizes, rounds, seconds), limit_s, progress)
        subjects = run.all(reference, candidates, baseline, at_once)
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=bundle.manifest.task,
        data=counted,
        machine=describe(run.busy, before),
        batches=sizes,
        rounds=rounds,
        gates=limits,
        rows=tuple(subject.row(limits) for subject in subjects),
    )


class _Run:
    """One call of `verify`."""

    def __init__(
        self,
        folder: Path,
        data: VerifyData,
        plan: Plan,
        limit_s: float,
        progress: Progress | None,
    ) -> None:
        self._folder, self._data, self._plan, self._limit = folder, data, plan, limit_s
        self._progress = progress or (lambda what, done, total: None)
        self._files = folder / "pictures.json"
        self._files.write_text(json.dumps([str(f.resolve()) for f in data.files()]), "utf-8")
        self._number = 0
        self._done, self._total = 0, 0
        self.busy: float | None = None

    def all(
        self,
        reference: Candidate,
        candidates: Sequence[Candidate],
        baseline: Candidate | None,
        at_once: int,
    ) -> list[_Subject]:
        """Go through all candidates, some at a time."""
        lead = [self._subject("reference", reference)]
        if baseline is not None:
            lead.append(self._subject("baseline", baseline))
        others = [self._subject("candidate", each) for each in candidates]
        waves = [others[k : k + at_once] for k in range(0, len(others), at_once)] or [[]]
        turns = self._plan.rounds * len(self._plan.batches)
        timed = len(lead) + len(others) + (len(waves) - 1) * (len(lead) - 1)
        self._total = len(lead) + len(others) + turns * timed
        with ExitStack() as open_for_all:
            for subject in lead:
                self._answer(subject, lead[0], open_for_all)
            if lead[0].failed:
                raise RunError(
                    f"the reference ({reference.how()}) cannot be used: {lead[0].failed}",
                    fix="take another reference, or repair the model",
                )
            for number, wave in enumerate(waves):
                with ExitStack() as open_now:
                    for subject in wave:
                        self._answer(subject, lead[0], open_now)
                    leading = lead if number == 0 else lead[1:]
                    self._time([*leading, *wave], number * self._plan.rounds)
                    self._finish(wave, lead)
            self._finish(lead, lead)
        return [*lead, *others]

    def _subject(self, role: Role, candidate: Candidate) -> _Subject:
        subject = _Subject(role, candidate, candidate.bundle.name)
        try:
            bundle = load_bundle(candidate.bundle)
        except InputError as error:
            subject.failed = str(error)
            return subject
        subject.manifest = bundle.manifest
        subject.file_bytes = sum(
            (bundle.path / name).stat().st_size for name in bundle.manifest.files
        )
        return subject

    def _step(self, what: str) -> None:
        self._done += 1
        self._progress(what, self._done, self._total)

    def _answer(self, subject: _Subject, reference: _Subject, stack: ExitStack) -> None:
        """Open a candidate, have it answer everything, and judge what it says."""
        self._progress(f"asking {subject.candidate.how()}", self._done, self._total)
        if not subject.failed:
            try:
                self._ask(subject, reference, stack)
            except UnusableError as reason:
                subject.failed = str(reason)
        self._step(f"asked {subject.candidate.how()}")

    def _ask(self, subject: _Subject, reference: _Subject, stack: ExitStack) -> None:
        assert subject.manifest is not None
        assert reference.manifest is not None
        if subject.manifest.task != reference.manifest.task:
            raise UnusableError(
                f"its task is {subject.manifest.task}, the reference's {reference.manifest.task}"
            )
        self._number += 1
        errors = self._folder / f"{self._number}.log"
        worker = stack.enter_context(closing(Worker(subject.candidate, errors, self._limit)))
        opened = worker.ask("open", candidate=subject.candidate.model_dump(mode="json"))
        subject.open_ms, subject.ran_precision = opened["ms"], opened["precision"]
        if opened["engine"] is not None:
            subject.engine = facts(load_engine(Path(opened["engine"])).manifest)
        out = self._folder / f"{self._number}.npz"
        largest = max(self._plan.batches)
        worker.ask("answer", files=str(self._files), out=str(out), batch=largest, keep=largest)
        subject.answers = Answers.load(out)
        out.unlink()
        subject.accuracy = self._judged(subject, reference)
        for batch in self._plan.batches:
            wrong = worker.ask("check", batch=batch)["difference"]
            if wrong:
                raise UnusableError(f"its answers change with the batch size ({batch}): {wrong}")
        subject.clocked = Clocked(worker)

    def _judged(self, subject: _Subject, reference: _Subject) -> Accuracy:
        mine, theirs = subject.answers, reference.answers
        assert mine is not None
        assert theirs is not None
        assert subject.manifest is not None
        assert reference.manifest is not None
        if mine.rows is not None and theirs.rows is not None:
            same = _same_space(subject.manifest, reference.manifest)
            return embed_accuracy(mine.rows, theirs.rows, self._data, same_space=same)
        return detect_accuracy(mine.boxes or (), theirs.boxes or (), self._data)

    def _time(self, subjects: Sequence[_Subject], first_round: int) -> None:
        busyness = Busyness()
        clocked = [each.clocked for each in subjects if each.clocked and not each.clocked.failed]
        missing = (len(subjects) - len(clocked)) * self._plan.rounds * len(self._plan.batches)
        self._done += missing
        take_turns(clocked, self._plan, first_round, lambda: self._step("timing"))
        share = busyness.share(each.worker.pid for each in clocked)
        if share is not None:
            self.busy = share if self.busy is None else max(self.busy, share)

    def _finish(self, subjects: Sequence[_Subject], lead: Sequence[_Subject]) -> None:
        baseline = lead[1].clocked if len(lead) > 1 else None
        for subject in subjects:
            if subject.clocked is None:
                continue
            subject.failed = subject.clocked.failed
            subject.speed = summary(subject.clocked, baseline, self._plan.batches)
            if not subject.failed:
                try:
                    held = subject.clocked.worker.ask("held")
                except UnusableError as reason:
                    subject.failed = str(reason)
                else:
                    subject.peak, subject.running = held["peak"], held["running"]


def _same_space(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests are of one trained model, in whatever numbers."""
    origins = {manifest.built_from or manifest.model_id for manifest in (one, other)}
    return len(origins) == 1
