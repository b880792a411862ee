"""Pictures of a live run: taken out of its gallery, which has kept the best few of everybody.

Only where the run's site file allows it, and what was seen since then. The gallery has forgotten
who was erased and what is beyond retention, and goes on doing so: what is deleted there while
pictures are taken is not among them either.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosscam_edge.gallery.reader import Reader
from crosscam_edge.sinks.schema import file_stem
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crosscam_edge.harvest.choose import HarvestOptions

GALLERY = "gallery.db"
_DAY_NS = 86_400e9


@dataclass(slots=True)
class Kept:
    """The pictures of a gallery that are worth learning from.

    Attributes:
        pictures: As from `Reader.pictures`, with the label ``person``, which holds inside the
            camera only; by camera and time.
        left_out: Pictures and people that were not taken, by reason.
    """

    pictures: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def is_live(run: Path) -> bool:
    """Tell whether a folder is that of a live run."""
    return (run / GALLERY).is_file() and not (run / "run.json").is_file()


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Give a reader of a gallery that holds pictures.

    Raises:
        InputError: It is no gallery, or one of a crosscam that kept no pictures.
    """
    try:
        reader = Reader(path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        yield reader
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    finally:
        reader.close()


def choose_kept(
    reader: Reader, options: HarvestOptions, now_ns: int, keep_days: float | None = None
) -> Kept:
    """Choose among the pictures of a gallery.

    Args:
        reader: Of the gallery.
        options: What is taken.
        now_ns: UTC. What its run would have deleted by now is left out: nobody may have opened the
            gallery for long.
        keep_days: Older pictures are left out too.

    Raises:
        InputError: Its run does not allow that pictures are taken.
    """
    since_ns, allowed_ns = _limits(reader, now_ns, keep_days)
    out = Kept()
    by_track = _good(reader, options, since_ns, allowed_ns, out.left_out)
    by_person: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for (camera, track), pictures in by_track.items():
        pictures.sort(key=lambda p: (-p["quality"], p["ns"]))
        taken: list[dict[str, Any]] = []
        for each in pictures:
            if len(taken) == options.per_track:
                out.left_out["crops too many of a track"] += 1
            elif any(abs(each["ns"] - other["ns"]) < options.apart_s * 1e9 for other in taken):
                out.left_out["crops too soon after another"] += 1
            else:
                taken.append(each)
        for each in taken:
            person = track if options.labels == "tracks" else each["global_id"]
            by_person[camera, person].append({**each, "person": person})
    for pictures in by_person.values():
        if len(pictures) < options.least:
            out.left_out["people with too few crops"] += 1
        else:
            out.pictures += pictures
    out.pictures.sort(key=lambda p: (p["camera"], p["ns"], p["track"]))
    return out


def _good(
    reader: Reader,
    options: HarvestOptions,
    since_ns: int,
    allowed_ns: int,
    left_out: Counter[str],
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return the pictures that may be taken and are good enough, by camera and track."""
    by_track: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for each in reader.pictures():
        if each["ns"] < since_ns:
            left_out["pictures that are too old"] += 1
        elif each["ns"] < allowed_ns:
            left_out["pictures from before it was allowed"] += 1
        elif each["quality"] < options.quality:
            left_out["crops of low quality"] += 1
        elif each["height"] < options.height:
            left_out["crops too small"] += 1
        else:
            by_track[each["camera"], each["track"]].append(each)
    return by_track


def _limits(reader: Reader, now_ns: int, keep_days: float | None) -> tuple[int, int]:
    """Return since when pictures are kept, and since when they may be taken."""
    policy = reader.policy()
    keep_ns, allowed_ns = policy.keep_ns, policy.harvest_since_ns
    if keep_ns is None or allowed_ns is None:
        raise InputError(
            "this run does not allow that its pictures are taken for training",
            expected="`live: {harvest: true}` in its site file, where those who are seen have "
            "agreed, or the law allows it",
            fix="say so there and start the run again: what it sees from then on may be taken",
        )
    if keep_days is not None:
        keep_ns = min(keep_ns, round(keep_days * _DAY_NS))
    return now_ns - keep_ns, allowed_ns


def take_kept(
    reader: Reader,
    folder: Path,
    kept: Kept,
    progress: Callable[[int, int], None] | None,
    stop: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Save the pictures; returns their lines of the table.

    Who is erased while this goes on is left out: their files are deleted again at the end.
    """
    rows: dict[str, dict[str, Any]] = {}
    for done, each in enumerate(kept.pictures, 1):
        if stop():
            break
        found = reader.picture(each["name"])
        if found is not None:
            stem = file_stem(each["camera"])
            file = f"crops/{stem}/{each['person']}/{each['track']}_{each['ns']}.jpg"
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found["jpeg"])
            rows[each["name"]] = {
                "file": file,
                "camera": each["camera"],
                "person": str(each["person"]),
                "tracklet": str(each["track"]),
                "time_ns": each["ns"],
                "quality": round(min(max(each["quality"], 1e-4), 1.0), 4),
            }
        if progress is not None:
            progress(done, len(kept.pictures))
    still = {each["name"] for each in reader.pictures()}
    for name in [name for name in rows if name not in still]:
        (folder / rows.pop(name)["file"]).unlink()
    kept.left_out["pictures deleted meanwhile"] += len(kept.pictures) - len(rows)
    return list(rows.values())


def _unusable(path: Path, error: sqlite3.Error) -> InputError:
    return InputError(
        f"{path} holds no pictures that can be read ({error})",
        expected="the gallery of a `crosscam run` that keeps pictures",
        fix="run it with this crosscam, and `live: {pictures: true}`",
    )
