"""What is verified and what comes out: candidates, rows and the report.

Shares (accuracy, agreement) are in [0, 1]; a change is candidate minus reference, so a loss is
negative. Times are milliseconds, sizes bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crosscam_deploy.manifest import GraphPrecision, Sha256, Strict
from crosscam_deploy.runtime.base import Precision

Engine = Literal[
    "openvino",
    "onnxruntime",
    "onnxruntime-plain",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "torch-inductor",
]
"""What runs a candidate; ``onnxruntime-plain`` is an ``InferenceSession`` with no option set."""
NAMES: dict[str, str] = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-cuda": "ONNX Runtime CUDA",
    "onnxruntime-tensorrt": "ONNX Runtime TensorRT",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT for RTX",
    "torch": "torch",
    "torch-inductor": "torch, compiled,",
}
"""What engines are called."""
Role = Literal["reference", "baseline", "candidate"]
Status = Literal["passed", "refused", "failed", "built"]
"""Refused: it answers, but below a gate. Failed: it gives no answers that could be judged. Built:
an engine for another machine, which could be built here and not run: nothing is known of its
answers or its speed."""
Share = Annotated[float, Field(ge=0, le=1)]


class Candidate(Strict):
    """One way of running one bundle."""

    bundle: Path = Field(description="folder or zip of a bundle")
    runtime: Engine = "onnxruntime"
    precision: Precision = Field(default="f32", description="numbers the engine computes in")
    threads: int = Field(default=0, ge=0, description="threads of the engine; 0 for one a core")
    streams: int = Field(default=1, ge=1, description="batches at the same time")
    input_size: tuple[int, int] | None = Field(
        default=None, description="height and width in pixels; None for the manifest's"
    )

    @model_validator(mode="after")
    def _plain_has_no_settings(self) -> Self:
        settings = (self.threads, self.streams, self.input_size)
        if self.runtime == "onnxruntime-plain" and settings != (0, 1, None):
            raise ValueError("onnxruntime-plain is ONNX Runtime with its own settings only")
        return self

    def how(self) -> str:
        """Return engine, precision, threads and streams in words."""
        if self.runtime == "onnxruntime-plain":
            return "ONNX Runtime, own defaults"
        # TensorRT computes in the types of the graph
        own = self.runtime in ("tensorrt", "tensorrt-rtx")
        words = [NAMES[self.runtime] if own else f"{NAMES[self.runtime]} {self.precision}"]
        if self.threads:
            words.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        if self.streams > 1:
            words.append(f"{self.streams} streams")
        if self.input_size is not None:
            words.append("x".join(map(str, self.input_size)))
        return ", ".join(words)


class EmbedAccuracy(Strict):
    """How an embedder's answers compare with the reference's on the same crops."""

    task: Literal["embed"] = "embed"
    crops: int = Field(ge=1)
    cosine_mean: float | None = Field(description="to the reference; None in another space")
    cosine_min: float | None
    top1_agreement: Share | None = Field(
        description="share of queries whose best answer is the reference's"
    )
    queries: int | None = Field(
        default=None, description="that have a right answer, over all sets; None without labels"
    )
    mean_ap: Share | None = Field(description="None without labels")
    rank1: Share | None
    mean_ap_change: float | None = Field(description="candidate minus reference")
    rank1_change: float | None


class DetectAccuracy(Strict):
    """How well a detector finds people, at IoU 0.5."""

    task: Literal["detect"] = "detect"
    frames: int = Field(ge=1)
    people: int = Field(ge=0, description="boxes asked for")
    truth: Literal["labels", "reference"] = Field(
        description="whose boxes count as true: those given, or the reference's own"
    )
    average_precision: Share
    recall: Share = Field(description="with at most one false box a frame")
    average_precision_change: float
    recall_change: float
    agreement: Share = Field(
        description="share of the boxes of candidate and reference, at the score a run uses, that "
        "the other has too"
    )


Accuracy = Annotated[EmbedAccuracy | DetectAccuracy, Field(discriminator="task")]


class Speed(Strict):
    """How fast one batch size is answered, pre- and post-processing left out."""

    batch: int = Field(ge=1)
    calls: int = Field(ge=1, description="batches timed, over all rounds")
    ms_median: float = Field(gt=0, description="from giving a batch to having its answer")
    ms_p95: float = Field(gt=0)
    ms_each: float = Field(gt=0, description="wall time by crop or frame: 1000 / each_per_second")
    each_per_second: float = Field(gt=0, description="crops or frames, median over rounds")
    cpu_ms_each: float = Field(ge=0, description="processor time of all threads")
    ratio: float | None = Field(
        description="times as fast as the baseline, median over rounds; None without one"
    )


class EngineFacts(Strict):
    """An engine of TensorRT, as its manifest tells."""

    version: str = Field(description="of the TensorRT that built it")
    built_for: str = Field(description="GPUs, in words")
    buckets: tuple[int, ...] = Field(description="most pictures that each of its profiles takes")
    plan_bytes: int = Field(gt=0)
    plan_sha256: Sha256
    layers: dict[str, int] | None = Field(
        description="type of numbers → layers, as the inspector tells of the finished engine; None "
        "where there was no GPU to open it on"
    )
    products: dict[str, int] | None = Field(
        description="type of numbers → convolutions and products, as it was read from the graph"
    )
    seconds: float = Field(ge=0, description="that the build took")

    def computes_in(self) -> str:
        """Return the types of numbers in words, the most frequent first."""
        found, of = (self.layers, "layers") if self.layers else (self.products, "products, as read")
        if not found:
            return "not told"
        kinds = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
        return f"{', '.join(f'{kind} {count}' for kind, count in kinds)} {of}"


class Row(Strict):
    """One candidate: whether it may be used, why not, and what was measured."""

    role: Role
    candidate: Candidate
    model: str = Field(description="name in the manifest; the path where there is none")
    model_id: Sha256 | None
    graph_precision: GraphPrecision = Field(
        default="f32", description="numbers the graph was written for"
    )
    float_nodes: int = Field(default=0, ge=0, description="nodes of a mixed graph that stay float")
    ran_precision: str = Field(default="", description="what the engine said that it computes in")
    status: Status
    reasons: tuple[str, ...] = Field(default=(), description="why refused or failed")
    file_bytes: int | None = None
    open_ms: float | None = Field(default=None, description="to open it: compile, or load compiled")
    peak_memory_bytes: int | None = Field(
        default=None, description="most that its process held, opening included"
    )
    running_memory_bytes: int | None = Field(
        default=None, description="most that its process held after opening"
    )
    accuracy: Accuracy | None = None
    speed: tuple[Speed, ...] = ()
    engine: EngineFacts | None = Field(default=None, description="of TensorRT")
    emulated: bool = Field(
        default=False,
        description="answered by a graph in float32 that rounds where this one has 16 bits",
    )

    def graph(self) -> str:
        """Return the numbers of its graph in words."""
        if not self.float_nodes:
            return self.graph_precision
        return f"{self.graph_precision}, {self.float_nodes} float"

    def how(self) -> str:
        """Return how it ran, in words, with what ``auto`` became."""
        words = self.candidate.how()
        if self.candidate.precision == "auto" and self.ran_precision:
            words = words.replace(" auto", f" auto ({self.ran_precision})", 1)
        return f"{words}, 16 bits emulated" if self.emulated else words

    def at(self, batch: int) -> Speed | None:
        """Return what was measured at a batch size."""
        return next((speed for speed in self.speed if speed.batch == batch), None)


class Gates(Strict):
    """What a candidate must reach. None: not asked for.

    Gates on labelled figures apply where there are labels, the others everywhere. Rank-1 and recall
    move in steps of one query and one box: a loss of one is let pass whatever the gate, since with
    so few pictures it tells nothing.
    """

    min_cosine_mean: float | None = Field(default=0.995, ge=-1, le=1)
    min_cosine: float | None = Field(default=0.9, ge=-1, le=1, description="of the worst crop")
    min_top1_agreement: Share | None = None
    max_mean_ap_drop: Share | None = 0.005
    max_rank1_drop: Share | None = 0.01
    max_ap_drop: Share | None = Field(default=0.01, description="average precision of a detector")
    max_recall_drop: Share | None = 0.01
    min_agreement: Share | None = Field(default=0.95, description="of boxes with the reference's")
    min_ratio: float | None = Field(default=None, gt=0, description="speed against the baseline")


class DataSummary(Strict):
    """What was looked at."""

    kind: Literal["crops", "frames"]
    sets: dict[str, int] = Field(description="pictures by set")
    people: int | None = Field(description="people in crops, boxes in frames; None unlabelled")
    labelled: bool


class Machine(Strict):
    """Where it was measured."""

    processor: str
    cores: int = Field(description="that the process may use")
    memory_bytes: int
    system: str
    versions: dict[str, str]
    busy: float | None = Field(description="share of all cores that others used while timing")
    load: float | None = Field(
        default=None, description="tasks that ran or waited, mean of the minute before the run"
    )


class Report(Strict):
    """Everything that one run of `verify` found."""

    format_version: Literal[1] = 1
    created: str = Field(description="UTC, ISO 8601")
    task: Literal["embed", "detect"]
    data: DataSummary
    machine: Machine
    batches: tuple[int, ...]
    rounds: int
    gates: Gates
    rows: tuple[Row, ...] = Field(description="reference first, then the baseline, if any")

    @property
    def reference(self) -> Row:
        """The row all others are compared with."""
        return self.rows[0]

    @property
    def candidates(self) -> tuple[Row, ...]:
        """The rows that were asked about."""
        return tuple(row for row in self.rows if row.role == "candidate")

    @property
    def passed(self) -> bool:
        """Whether no candidate was refused or failed; of engines not run here nothing is known."""
        return all(row.status in ("passed", "built") for row in self.candidates)

    def fastest(self, batch: int | None = None) -> Row | None:
        """Return the fastest row that may be used; None when there is none with a time.

        Args:
            batch: At which batch size; the largest by default.
        """
        size = max(self.batches) if batch is None else batch
        timed = [
            (speed.each_per_second, row)
            for row in self.rows
            if row.status == "passed" and row.role != "baseline"
            if (speed := row.at(size)) is not None
        ]
        return max(timed, key=lambda pair: pair[0])[1] if timed else None
