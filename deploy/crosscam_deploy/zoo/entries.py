"""The table of known models, ``zoo.yaml``, with types."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from crosscam_deploy.manifest import BundleFile, Decoder, Preprocessing, Sha256, Strict

Task = Literal["detect", "embed"]


class ZooFile(Strict):
    """One file of a model.

    Attributes:
        name: Its known name; a file of this name in ``CROSSCAM_MODELS`` is taken for it.
        url: Where it is published; None when it is only found locally.
        sha256: What the publisher serves, when that is known for certain.
        sha384: The same, where the publisher states this checksum.
    """

    name: BundleFile
    url: str | None = None
    sha256: Sha256 | None = None
    sha384: Annotated[str, Field(pattern=r"^[0-9a-f]{96}$")] | None = None


class Variant(Strict):
    """One way in which a model is published: the graph first, then the files it needs."""

    files: tuple[ZooFile, ...] = Field(min_length=1)
    note: str = ""

    @property
    def downloadable(self) -> bool:
        """Whether every file has an address."""
        return all(file.url for file in self.files)


class Export(Strict):
    """A model that is made here from a checkpoint, with an extra installed."""

    kind: Literal["ultralytics", "open_clip", "osnet"]
    checkpoint: str
    extra: Literal["yolo", "train"]
    url: str | None = None


class ZooEntry(Strict):
    """A known model.

    Attributes:
        name: Name on the command line.
        aliases: Other names for it.
        task: What it does.
        licence: Licence of the weights.
        source: Who publishes them.
        training: Data that they were trained on.
        accuracy: Published figures by name.
        variants: Ready files, best first.
        export: How to make it, when it is not published as a graph.
        preprocessing: How it was trained to see images; None when the export tells.
        decoder: Head of a detector.
        size_mb: Size of the download in MB, for people.
        packaged: Whether its bundle comes with crosscam.
    """

    name: str
    aliases: tuple[str, ...] = ()
    task: Task
    licence: str
    source: str
    training: str = ""
    accuracy: dict[str, float] = Field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    export: Export | None = None
    preprocessing: Preprocessing | None = None
    decoder: Decoder | None = None
    size_mb: float | None = None
    packaged: bool = False

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if not self.variants and self.export is None and not self.packaged:
            raise ValueError(f"{self.name}: neither files nor an export, and not packaged")
        if self.variants and self.preprocessing is None:
            raise ValueError(f"{self.name}: files without pre-processing")
        if self.variants and self.task == "detect" and self.decoder is None:
            raise ValueError(f"{self.name}: a detector without decoder")
        return self


class _Table(Strict):
    default_order: dict[Task, tuple[str, ...]]
    models: tuple[ZooEntry, ...]


@cache
def _table() -> _Table:
    text = resources.files(__package__).joinpath("zoo.yaml").read_text(encoding="utf-8")
    # the C parser is several times as fast, and missing from some builds of PyYAML
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _Table.model_validate(yaml.load(text, loader))  # noqa: S506 (both are safe)


def entries() -> tuple[ZooEntry, ...]:
    """Return all known models, in the order of the table."""
    return _table().models


def default_order(task: Task) -> tuple[str, ...]:
    """Return the names that `best_available` tries, best first."""
    return _table().default_order[task]
