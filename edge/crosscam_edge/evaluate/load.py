"""Finding tracks in what a user names: a file, a folder of files, a run, a simulated site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crosscam_edge.sinks.mot import MotSequence, read_mot
from crosscam_edge.sinks.mtmc import read_mtmc
from crosscam_edge.sinks.run_file import read_run
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = ["camera_id", "frame", "global_id", "track_id", "x1", "y1", "x2", "y2", "confidence"]
_KINDS = (
    "a MOT file, an MTMC file, a folder of MOT files (<camera>.txt or <camera>/gt/gt.txt), "
    "a folder of `crosscam process`, or a simulated site"
)


@dataclass(frozen=True, slots=True)
class Cameras:
    """Tracks by camera.

    Attributes:
        tracks: By camera name; by number as text where only numbers are known.
        numbers: Camera name by number, where known.
        numbered: Whether the names of `tracks` are numbers of an MTMC file.
    """

    tracks: dict[str, MotSequence]
    numbers: dict[int, str] = field(default_factory=dict)
    numbered: bool = False


def load_cameras(
    path: Path, *, ground_truth: bool = False, ids: Literal["global", "track"] = "global"
) -> Cameras:
    """Read the tracks of several cameras.

    Args:
        path: One of: folder of `crosscam process`; simulated site with ``gt/mot``; folder of MOT
            files (``<camera>.txt``, or ``<camera>/gt/gt.txt`` as in MOT Challenge); MTMC file; one
            MOT file (its camera is named after the file).
        ground_truth: Whether flags of 0 are marks.
        ids: Which ids of a run to read: identities, or the tracks inside each camera, which are
            what single-camera benchmarks score (who leaves and returns is somebody new there).

    Raises:
        InputError: Nothing of the kind is there, or a file is broken.
    """
    if path.is_dir():
        if (path / "tracks.parquet").is_file():
            return _run(path, ids)
        for folder in (path / "gt" / "mot", path / "mot", path / "gt", path):
            files = _mot_files(folder)
            if files:
                return Cameras(
                    {name: read_mot(f, ground_truth=ground_truth) for name, f in files.items()}
                )
        raise InputError(f"{path} holds no tracks", expected=_KINDS)
    if _blank_separated(path):
        numbered = {str(n): s for n, s in read_mtmc(path).items()}
        return Cameras(numbered, numbered=True)
    return Cameras({path.stem: read_mot(path, ground_truth=ground_truth)})


def match_names(
    gt: Cameras, pred: Cameras
) -> tuple[dict[str, MotSequence], dict[str, MotSequence]]:
    """Bring both sides to the same camera names: numbers become names where one side knows them.

    Raises:
        InputError: A number has no name on the other side, so nothing can be compared.
    """
    if gt.numbered == pred.numbered:
        return gt.tracks, pred.tracks
    named, other = (pred, gt) if gt.numbered else (gt, pred)
    # Without a run.json, cameras are numbered in order of their names, as `process` does.
    names = named.numbers or dict(enumerate(sorted(named.tracks), 1))
    unknown = [n for n in other.tracks if int(n) not in names]
    if unknown:
        raise InputError(
            f"camera number {unknown[0]} of the MTMC file",
            expected=", ".join(f"{n} ({name})" for n, name in sorted(names.items())),
            fix="name both sides alike, or number the cameras as in run.json",
        )
    renamed = {names[int(n)]: s for n, s in other.tracks.items()}
    return (renamed, named.tracks) if gt.numbered else (named.tracks, renamed)


def load_one(path: Path, camera: str | None = None, *, ground_truth: bool = False) -> MotSequence:
    """Read the tracks of one camera; of a run, those inside the camera.

    Args:
        path: As for `load_cameras`.
        camera: Which one, when there are several; a lone one is taken whatever its name.
        ground_truth: Whether flags of 0 are marks.

    Raises:
        InputError: There are several and none was chosen, or not the chosen one.
    """
    tracks = load_cameras(path, ground_truth=ground_truth, ids="track").tracks
    if len(tracks) == 1:
        return next(iter(tracks.values()))
    if camera is None or camera not in tracks:
        found = f"{path} has {len(tracks)} cameras" if camera is None else f"no camera {camera!r}"
        raise InputError(
            found,
            expected=f"one of {sorted(tracks)}",
            fix="choose with --camera NAME, or score all with `crosscam eval mtmc`",
        )
    return tracks[camera]


def _run(path: Path, ids: Literal["global", "track"]) -> Cameras:
    """Read a folder of `crosscam process`; the track ids stand beside the chosen ones."""
    run = read_run(path)
    try:
        table = pq.read_table(path / "tracks.parquet", columns=_COLUMNS)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise InputError(
            f"{path / 'tracks.parquet'} cannot be read ({str(error)[:160]})",
            expected="Parquet with the columns in docs/reference/outputs.md",
        ) from error
    camera = table["camera_id"].to_numpy(zero_copy_only=False)
    columns = {name: table[name].to_numpy() for name in _COLUMNS[1:]}
    boxes = np.stack([columns[n] for n in ("x1", "y1", "x2", "y2")], axis=1)
    everything = MotSequence.of(
        columns["frame"],
        columns[f"{ids}_id"],
        boxes,
        confidence=columns["confidence"],
        track_id=columns["track_id"],
    )
    tracks = {c.camera_id: everything[camera == c.camera_id].sorted() for c in run.cameras}
    return Cameras(tracks, {c.number: c.camera_id for c in run.cameras})


def _mot_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = {f.stem: f for f in sorted(folder.glob("*.txt")) if f.name != "mtmc.txt"}
    nested = {f.parent.parent.name: f for f in sorted(folder.glob("*/gt/gt.txt"))}
    return files or nested


def _blank_separated(path: Path) -> bool:
    """Whether the first line with content has blanks but no commas."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    return "," not in line
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", expected=_KINDS) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error})", expected=_KINDS) from error
    return False
