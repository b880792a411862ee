"""A gallery in one SQLite file: identities, the tracklets that they are known by, what happened."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_edge.associate.online.types import BY_HAND, EventKind
from crosscam_edge.gallery.ahead import Ahead
from crosscam_edge.gallery.rows import COLUMNS, row_of, tracklet_of
from crosscam_edge.gallery.schema import HARVEST, KEEP, connect
from crosscam_edge.gallery.writer import Writer
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crosscam_edge.associate.online.types import IdentityEvent
    from crosscam_edge.types import Tracklet

_log = get_logger("gallery")
_PUT_TRACKLET = (
    f"INSERT OR REPLACE INTO tracklets ({', '.join(COLUMNS)}) "  # noqa: S608 (names of ours)
    f"VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
)
_PUT_IDENTITY = (
    "INSERT INTO identities (global_id, first_ns, last_ns) VALUES (?, ?, ?) "
    "ON CONFLICT (global_id) DO UPDATE SET first_ns = min(first_ns, excluded.first_ns), "
    "last_ns = max(last_ns, excluded.last_ns)"
)
_BOUND_AUDIT = "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?"
# The newest stays, so that ids go on: the first one tells how many are gone.
_TIDY_AUDIT = (
    "DELETE FROM audit WHERE id < coalesce("
    "(SELECT id FROM audit WHERE time_ns >= ? ORDER BY id LIMIT 1), (SELECT max(id) FROM audit))"
)
# The best of each tracklet come before the second best, and so on.
_TOO_MANY_OF_ONE = """
    DELETE FROM pictures WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (
                PARTITION BY global_id ORDER BY place, quality DESC, id
            ) AS of_person
            FROM (
                SELECT id, camera, track, quality, row_number() OVER (
                    PARTITION BY camera, track ORDER BY quality DESC, id
                ) AS place
                FROM pictures
            ) JOIN tracklets USING (camera, track)
        ) WHERE of_person > ?
    )
"""
_TOO_MANY = """
    DELETE FROM pictures WHERE id IN (
        SELECT id FROM (
            SELECT id, sum(bytes) OVER newest AS total, row_number() OVER newest AS number
            FROM pictures WINDOW newest AS (ORDER BY id DESC)
        ) WHERE total > ? OR number > ?
    )
"""
_NEXT_ID, _TRACK = "next global id", "track "
_HOUR_NS = 3600 * 1_000_000_000
_MINUTE_NS = 60 * 1_000_000_000
_LONGEST_NS = 1 << 62
_PICTURES_OF_ONE = 24
_PICTURES = 20_000
_PICTURE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class AuditBound:
    """How much is kept of who has asked for what; the oldest goes first.

    Attributes:
        rows: At most so many requests.
        keep_s: Seconds that each is kept.
    """

    rows: int = 1_000_000
    keep_s: float = 365 * 86_400.0


@dataclass(slots=True)
class Restored:
    """What an earlier run has left.

    Attributes:
        tracklets: With the id of whom each is of, in order of their ends.
        next_id: First id that was never given.
        next_track: The same of track ids, by camera.
        broken: Rows that could not be read.
        by_hand: People who were merged or split by hand, under their present ids.
        apart: Pairs of them who stay two.
    """

    tracklets: list[tuple[Tracklet, int]] = field(default_factory=list)
    next_id: int = 1
    next_track: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    by_hand: set[int] = field(default_factory=set)
    apart: set[frozenset[int]] = field(default_factory=set)


class Gallery:
    """Keeps identities over restarts. Writing never waits for the disk; reading and erasing do.

    Args:
        path: The file; made when missing.
        model_id: The model whose embeddings are put.
        dim: Their length `D`.
        now_ns: UTC.
        keep_s: What ended longer ago is deleted, when the gallery is opened and once an hour.
        audit: How much is kept of who has asked for what.
        harvest: Whether pictures may be taken for training, from now on; those from before are
            not, unless the gallery was opened like that ever since.
        picture_bytes: Pictures take so many bytes; beyond that, and beyond 20,000 pictures, the
            oldest are deleted, when the gallery is opened and once a minute.

    Attributes:
        writer: Counts what was written and what was not.

    Raises:
        InputError: The file is no gallery, or cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        model_id: str,
        dim: int,
        now_ns: Callable[[], int],
        keep_s: float = 7 * 86_400.0,
        audit: AuditBound | None = None,
        harvest: bool = False,
        picture_bytes: int = _PICTURE_BYTES,
    ) -> None:
        self._audit = audit or AuditBound()
        self._path, self._model_id, self._dim, self._now = path, model_id, dim, now_ns
        self._reader = connect(path)
        self._reader.row_factory = sqlite3.Row
        self._writing = connect(path)
        self.writer = Writer(self._writing)
        self._ahead = Ahead(self.writer.put)
        self._keep_ns = round(keep_s * 1e9)
        self._picture_bytes = picture_bytes
        self._tidied_ns: int | None = None
        self._bounded_ns: int | None = None
        self._agree(harvest)
        self.tidy()

    def restore(self, since_ns: int) -> Restored:
        """Return the tracklets of this model's embeddings that ended since then.

        Those of other models are left where they are: embeddings of two models say nothing about
        each other.
        """
        out = Restored()
        found = dict(self._reader.execute("SELECT name, value FROM counters").fetchall())
        counters = self._ahead.restored({_NEXT_ID: 1} | found)
        out.next_id = counters.pop(_NEXT_ID)
        out.next_track = {name.removeprefix(_TRACK): value for name, value in counters.items()}
        if not self.writer.flush():
            _log.warning("ids cannot be reserved", reason="the gallery cannot be written")
        for row in self._reader.execute(
            "SELECT * FROM tracklets WHERE model_id = ? AND end_ns >= ? AND embeddings NOT NULL "
            "ORDER BY end_ns, camera, track",
            (self._model_id, since_ns),
        ):
            try:
                out.tracklets.append((tracklet_of(row, self._dim), int(row["global_id"])))
            except (ValueError, TypeError) as error:
                out.broken += 1
                _log.warning("tracklet left out", reason=str(error))
        for row in self._reader.execute(
            "SELECT kind, global_id, other_id FROM events WHERE cause = ? ORDER BY id", (BY_HAND,)
        ):
            pair = {self.resolve(row[name]) for name in ("global_id", "other_id") if row[name]}
            if row["kind"] in (EventKind.MERGED, EventKind.SPLIT):
                out.by_hand |= pair
            if row["kind"] == EventKind.SPLIT and len(pair) == 2:
                out.apart.add(frozenset(pair))
        return out

    def use_model(
        self, model_id: str, dim: int, known: Iterable[tuple[Tracklet, int]] = ()
    ) -> None:
        """Keep embeddings of another model from now on; those that are there stay what they are.

        Args:
            model_id: The model.
            dim: Length of its embeddings.
            known: Tracklets that it knows, with the ids of whom they are of. If one of them cannot
                be kept this raises, and nothing has changed.
        """
        rows = [(tracklet, row_of(tracklet, owner, model_id)) for tracklet, owner in known]
        self._model_id, self._dim = model_id, dim
        for tracklet, row in rows:
            self._put(tracklet, row)

    def put(self, tracklet: Tracklet, global_id: int) -> None:
        """Keep a tracklet as it stands, of an identity."""
        self._put(tracklet, row_of(tracklet, global_id, self._model_id))

    def _put(self, tracklet: Tracklet, row: dict[str, Any]) -> None:
        global_id = row["global_id"]
        self.writer.put(_PUT_TRACKLET, row)
        self.writer.put(_PUT_IDENTITY, (global_id, tracklet.start_ns, tracklet.end_ns))
        self._ahead.given(_NEXT_ID, global_id + 1)
        self.given(tracklet.camera_id, tracklet.track_id)

    def given(self, camera_id: str, track_id: int) -> None:
        """Note that a camera has given a track id, or is about to; it is not given again."""
        self._ahead.given(f"{_TRACK}{camera_id}", track_id + 1)

    def drop(self, camera_id: str, track_id: int) -> None:
        """Forget a tracklet that was nobody."""
        self.writer.put(
            "DELETE FROM tracklets WHERE camera = ? AND track = ?", (camera_id, track_id)
        )

    def tell(self, event: IdentityEvent) -> None:
        """Keep what happened to an identity, and do the same here."""
        camera, track = event.key or (None, None)
        self.writer.put(
            "INSERT INTO events (time_ns, kind, global_id, other_id, camera, track, odds, "
            "runner_up, runner_up_id, cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.time_ns, event.kind.value, event.global_id, event.other_id or None, camera,
                track, _known(event.odds), _known(event.runner_up), event.runner_up_id or None,
                event.cause or None,
            ),
        )  # fmt: skip
        self._ahead.given(_NEXT_ID, event.global_id + 1)
        if event.kind is EventKind.MERGED:
            self.writer.put(
                "UPDATE tracklets SET global_id = ? WHERE global_id = ?",
                (event.global_id, event.other_id),
            )
            self.writer.put(
                "UPDATE identities SET merged_into = ? WHERE global_id = ?",
                (event.global_id, event.other_id),
            )
        elif event.kind is EventKind.ENDED:
            self._forget_looks(event.global_id)

    def _forget_looks(self, global_id: int) -> None:
        self.writer.put(
            "UPDATE tracklets SET embeddings = NULL, times = NULL, qualities = NULL "
            "WHERE global_id = ?",
            (global_id,),
        )

    def _agree(self, harvest: bool) -> None:
        """Note what may be done with pictures, for who takes them while no run is there."""
        keep_ns = min(self._keep_ns, _LONGEST_NS)
        self.writer.put("INSERT OR REPLACE INTO policy VALUES (?, ?)", (KEEP, keep_ns))
        if harvest:
            self.writer.put("INSERT OR IGNORE INTO policy VALUES (?, ?)", (HARVEST, self._now()))
        else:
            self.writer.put("DELETE FROM policy WHERE name = ?", (HARVEST,))

    def tidy(self) -> None:
        """Delete what has been kept for long enough, and what is too much.

        At most once an hour, pictures once a minute, else nothing happens.
        """
        now = self._now()
        if self._bounded_ns is None or now - self._bounded_ns >= _MINUTE_NS:
            self._bounded_ns = now
            self.bound_pictures()
        if self._tidied_ns is None or now - self._tidied_ns >= _HOUR_NS:
            self._tidied_ns = now
            self.forget_before(now - self._keep_ns)
            self.writer.put(_TIDY_AUDIT, (now - round(self._audit.keep_s * 1e9),))

    def forget_before(self, time_ns: int) -> None:
        """Delete all that ended before: tracklets, events, and identities that are left with none.

        The audit has bounds of its own: it holds no looks, and tells who has asked for what.
        """
        self.writer.put("DELETE FROM tracklets WHERE end_ns < ?", (time_ns,))
        self.writer.put("DELETE FROM events WHERE time_ns < ?", (time_ns,))
        self.writer.put("DELETE FROM identities WHERE last_ns < ?", (time_ns,))

    def bound_pictures(self) -> None:
        """Delete pictures beyond 24 of a person, and the oldest beyond what all may take."""
        self.writer.put(_TOO_MANY_OF_ONE, (_PICTURES_OF_ONE,))
        self.writer.put(_TOO_MANY, (self._picture_bytes, _PICTURES))

    def journey(self, global_id: int) -> list[dict[str, Any]]:
        """Return where somebody was, in order: camera, track, and from when to when."""
        self.writer.flush()
        return [
            dict(row)
            for row in self._reader.execute(
                "SELECT camera, track, start_ns, end_ns, observations FROM tracklets "
                "WHERE global_id = ? ORDER BY start_ns, camera, track",
                (self.resolve(global_id),),
            )
        ]

    def resolve(self, global_id: int) -> int:
        """Return who an identity is by now: it may have been merged, and that one again."""
        seen = {global_id}
        while True:
            row = self._reader.execute(
                "SELECT merged_into FROM identities WHERE global_id = ?", (global_id,)
            ).fetchone()
            if row is None or row["merged_into"] is None or row["merged_into"] in seen:
                return global_id
            global_id = int(row["merged_into"])
            seen.add(global_id)

    def erase(self, global_id: int, *, who: str) -> int:
        """Erase everything about somebody, also under ids that were merged; on disk on return.

        Args:
            global_id: The identity.
            who: Who asked; kept in the audit, with the id and nothing else.

        Returns:
            Number of tracklets that were erased.

        Raises:
            InputError: It is not there.
        """
        self.writer.flush()
        final = self.resolve(global_id)
        known = "SELECT 1 FROM identities WHERE global_id = ?"
        if self._reader.execute(known, (final,)).fetchone() is None:
            raise InputError(
                f"there is no identity {global_id} in {self._path}",
                expected="an id that is still remembered",
            )
        ids = [final]
        for each in ids:  # grows: whoever was merged into somebody who was merged
            ids += [
                int(row["global_id"])
                for row in self._reader.execute(
                    "SELECT global_id FROM identities WHERE merged_into = ?", (each,)
                )
                if int(row["global_id"]) not in ids
            ]
        (count,) = self._reader.execute(
            "SELECT count(*) FROM tracklets WHERE global_id = ?", (final,)
        ).fetchone()
        for each in ids:
            for table in ("tracklets", "events", "identities"):
                self.writer.put(f"DELETE FROM {table} WHERE global_id = ?", (each,))  # noqa: S608
            self.writer.put("DELETE FROM events WHERE other_id = ?", (each,))
            self.writer.put(
                "UPDATE events SET runner_up = NULL, runner_up_id = NULL WHERE runner_up_id = ?",
                (each,),
            )
        self.audit(who, "erase", f"identity {final}")
        if not self.writer.flush():
            raise InputError(
                f"{self._path} cannot be written now",
                expected="a disk with room",
                fix="the erasure is waiting and will be done; ask again to be sure",
            )
        # What is overwritten in the file may still stand in the log of writes.
        self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return int(count)

    def size_bytes(self) -> int:
        """Return how many bytes its files have: the database, and the log of writes beside it."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(each.stat().st_size for each in files if each.is_file())

    def audit(self, who: str, action: str, detail: str) -> None:
        """Keep who has asked for what."""
        self.writer.put(
            "INSERT INTO audit (time_ns, who, action, detail) VALUES (?, ?, ?, ?)",
            (self._now(), who, action, detail),
        )
        self.writer.put(_BOUND_AUDIT, (self._audit.rows,))

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._ahead.end()
        self.writer.close()
        self._reader.close()
        self._writing.close()


def _known(value: float) -> float | None:
    return value if value == value else None
