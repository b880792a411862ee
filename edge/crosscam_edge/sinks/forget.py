"""Somebody taken out of records that were written already, or wait to be sent."""

from __future__ import annotations

import json
import os
import secrets
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosscam_edge.types import TrackletKey

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

PART = ".part"
"""Ends the names of files that are being written."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where somebody was, and when.

    Attributes:
        key: Their track in a camera.
        start_ns: From when, UTC.
        end_ns: Until when.
    """

    key: TrackletKey
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who shall be taken out.

    Attributes:
        names: Their global ids.
        tracks: Their tracks, which may have been told of before anybody knew whose they were.
        done: Number of lines that were changed or left out, once it is done.
    """

    names: frozenset[int]
    tracks: frozenset[TrackletKey]
    done: Future[int] = field(default_factory=Future)

    @classmethod
    def of(cls, names: Collection[int], seen: Collection[Seen]) -> Erasure:
        """Return it as sinks are asked for it, see `Keeps`."""
        return cls(frozenset(names), frozenset(each.key for each in seen))


def without(record: Mapping[str, Any], asked: Erasure) -> Mapping[str, Any] | None:
    """Return what may stay of a record; None for nothing, the record itself for all of it.

    It is done as in the gallery: what happened to somebody goes, and where they were only the
    runner-up of somebody else, that is no longer said. That they were erased stays.
    """
    if record.get("type") == "tracks":
        camera, people = record["camera"], record["people"]
        left = [
            each
            for each in people
            if each["global_id"] not in asked.names
            and TrackletKey(camera, each["track"]) not in asked.tracks
        ]
        return record if len(left) == len(people) else {**record, "people": left}
    if record.get("type") != "identity" or record["kind"] == "erased":
        return record
    key = TrackletKey(record["camera"], record["track"])
    if key in asked.tracks or asked.names & {record["global_id"], record["other_id"]}:
        return None
    if record["runner_up_id"] in asked.names:
        return {**record, "runner_up": None, "runner_up_id": None}
    return record


@dataclass(frozen=True, slots=True)
class Judged:
    """What may stay of records that wait: found without a lock, for it takes a while.

    Attributes:
        records: Those that were looked at; kept, so that no other record has the `id` of one.
        left: What may stay, by `id`, of those that do not stay as they are; None for nothing.
    """

    records: Sequence[Mapping[str, Any]]
    left: Mapping[int, Mapping[str, Any] | None]

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], asked: Erasure) -> Judged:
        """Judge records that nobody changes."""
        found = ((record, without(record, asked)) for record in records)
        return cls(records, {id(record): kept for record, kept in found if kept is not record})

    def put_in_place(self, waiting: deque[Mapping[str, Any]]) -> tuple[int, int]:
        """Put what may stay where the records still wait; quick, for whoever holds the lock.

        Returns:
            Number of records that were changed, and of those that are gone.
        """
        if not self.left:
            return 0, 0
        found = [(record, self.left.get(id(record), record)) for record in waiting]
        other = [kept for record, kept in found if kept is not record]
        waiting.clear()
        waiting.extend(kept for _, kept in found if kept is not None)
        gone = other.count(None)
        return len(other) - gone, gone


def left_of(text: bytes, asked: Erasure) -> bytes:
    """Return what may stay of a record in JSON; nothing for nothing of it."""
    return _line(text, asked).removesuffix(b"\n")


def rewrite(path: Path, asked: Erasure) -> int:
    """Write a file of records anew without somebody, and put it in its place whole.

    A line that is no record stays as it is. The file is left alone where nothing is to be changed.

    Args:
        path: Lines of JSON.
        asked: Who.

    Returns:
        Number of lines that were changed or left out.

    Raises:
        OSError: It cannot be done; the file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    changed = 0
    try:
        with path.open("rb") as source, temporary.open("xb") as target:
            os.fchmod(target.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
            for line in source:
                kept = _line(line, asked)
                changed += kept != line
                target.write(kept)
            target.flush()
            os.fsync(target.fileno())
        if changed:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return changed


def _line(line: bytes, asked: Erasure) -> bytes:
    try:
        record = json.loads(line)
        left = without(record, asked)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return line  # not one of ours
    if left is record:
        return line
    if left is None:
        return b""
    return json.dumps(left, separators=(",", ":")).encode() + b"\n"
