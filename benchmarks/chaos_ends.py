"""Faults that end a run: `kill -9`, and a disk that is full."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from chaos_run import broken_lines, ids_of, track_ids, when
from chaos_site import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from chaos_faults import Faults
    from chaos_site import Record


def run_killed(f: Faults) -> Record:
    """`kill -9` of crosscam, and the same command again in the same folder; three times over."""
    reused: set[int] = set()
    tracks: set[tuple[str, int]] = set()
    unwritten: set[str] = set()
    unpublished: set[str] = set()
    resumed: list[float | None] = []
    recovery, sound, began_ns = [], True, time.time_ns()
    for _ in range(3):
        time.sleep(f.setting.hold_s)
        f.run.kill()
        killed_ns = time.time_ns()
        before = f.run.records()
        sound &= _is_sound(f.out)
        f.run = f.watch(f.out)
        recovery.append(max(f.run.wait(f.setting.cameras, killed_ns).values()))
        known = {each["global_id"] for each in before if each["type"] == "identity"}
        if f.broker is not None:
            heard = {each for each in f.broker.heard() if began_ns <= _at(each) <= killed_ns}
            written = f.run.events(began_ns, killed_ns)
            known |= {json.loads(each)["global_id"] for each in heard}
            unwritten |= heard - written
            unpublished |= written - heard
        back_s = _known_again(f, known, len(before), killed_ns)
        resumed.append(back_s)
        time.sleep(f.setting.hold_s)
        after = f.run.records()[len(before) :]
        new = {each["global_id"] for each in after
               if each["type"] == "identity" and each["kind"] == "new"}  # fmt: skip
        reused |= new & known
        tracks |= track_ids(before) & track_ids(after)
    events = f.run.events(began_ns, time.time_ns())
    return {
        "recovery_s": max(recovery),
        "others_lost": None,
        "events": len(events),
        "events_lost": None,  # what waits in memory is not promised
        "published_not_written": len(unwritten),
        "written_not_published": len(unpublished),
        "broken_lines": broken_lines(f.out),
        "gallery_sound": sound,
        "ids_given_twice": sorted(reused),
        "tracks_given_twice": sorted(tracks),
        "known_again_s": None if None in resumed else max(each for each in resumed if each),
    }


def _known_again(f: Faults, known: set[int], first: int, killed_ns: int) -> float | None:
    """Wait for a box of somebody who was known before; returns how long that took, seconds.

    Args:
        f: The site.
        known: Identities that were told before.
        first: Number of the first record of the new run.
        killed_ns: When the old one ended, UTC.

    Returns:
        None where nobody was known again although everybody walked past.
    """

    def there() -> bool:
        return f.run.lives() and bool(known & ids_of(f.run.records()[first:]))

    with suppress(TimeoutError):
        wait_for(there, "somebody who was known", f.setting.seconds + f.setting.hold_s)
        return round((time.time_ns() - killed_ns) / 1e9, 2)
    return None


def disk_full(f: Faults) -> Record:
    """The disk of the run is full for a while; a small file system in memory stands for it."""
    small = f.setting.work / "small"
    small.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        return {"skipped": "no permission to mount a small file system"}
    f.run.end()
    try:
        f.run = f.watch(small / "out")
        filler = small / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return

        begun_ns, freed_ns = time.time_ns(), 0

        def free() -> None:
            nonlocal freed_ns
            filler.unlink()
            freed_ns = time.time_ns()

        found = f.one([], fill, free)
        time.sleep(3)
        alive = f.run.alive
        again = [when(each) for each in f.run.records() if when(each) > freed_ns]
        ended_ns = time.time_ns()
        lines = f.run.end()["outputs"]["events.jsonl"]
        if f.broker is not None:  # what the disk did not take was published all the same
            heard = {each for each in f.broker.heard() if begun_ns <= _at(each) <= ended_ns}
            found["published_not_written"] = len(heard - f.run.events(begun_ns, ended_ns))
        return {
            **found,
            "recovery_s": round((min(again) - freed_ns) / 1e9, 2) if again else None,
            "alive": alive,
            "lines_dropped_and_counted": lines["dropped"],
            "broken_lines": broken_lines(small / "out"),
            "gallery_sound": _is_sound(small / "out"),
        }
    finally:
        if f.run.alive:
            f.run.kill()
        subprocess.run(["umount", str(small)], check=False)


def _is_sound(out: Path) -> bool:
    with closing(sqlite3.connect(out / "gallery.db")) as gallery:
        return bool(gallery.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def _at(name: str) -> int:
    return int(json.loads(name)["time_ns"])
