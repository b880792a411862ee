"""Questions about a gallery while a run writes it: a connection that only reads."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from crosscam_edge.gallery.schema import HARVEST, KEEP

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_VISIBLE = "(:cameras IS NULL OR camera IN (SELECT value FROM json_each(:cameras)))"
_PAGE = f"""
    SELECT DISTINCT global_id FROM tracklets
    WHERE global_id < :before AND end_ns >= :since AND start_ns <= :until AND {_VISIBLE}
    ORDER BY global_id DESC LIMIT :limit
"""  # noqa: S608 (text of ours)
_SUMMARY = f"""
    SELECT global_id, min(start_ns) AS first_ns, max(end_ns) AS last_ns, count(*) AS tracklets,
           json_group_array(DISTINCT camera) AS cameras, (
               SELECT CAST(id AS TEXT) FROM pictures JOIN tracklets AS shown USING (camera, track)
               WHERE shown.global_id = tracklets.global_id AND {_VISIBLE}
               ORDER BY quality DESC, id LIMIT 1
           ) AS picture
    FROM tracklets
    WHERE global_id IN (SELECT value FROM json_each(:ids)) AND {_VISIBLE}
    GROUP BY global_id ORDER BY global_id DESC
"""  # noqa: S608
_JOURNEY = f"""
    SELECT camera, track, start_ns, end_ns, observations FROM tracklets
    WHERE global_id = :id AND {_VISIBLE} ORDER BY start_ns, camera, track
"""  # noqa: S608
_EVENTS = f"""
    SELECT time_ns, kind, global_id, other_id, camera, track, odds, runner_up, runner_up_id,
           cause
    FROM events WHERE (global_id = :id OR other_id = :id) AND {_VISIBLE}
    ORDER BY id DESC LIMIT :limit
"""  # noqa: S608
_STORED = f"SELECT * FROM tracklets WHERE global_id = :id AND {_VISIBLE} ORDER BY start_ns"  # noqa: S608
_LOOKS = f"""
    SELECT * FROM tracklets
    WHERE model_id = :model AND embeddings NOT NULL AND {_VISIBLE}
    ORDER BY end_ns DESC LIMIT :limit
"""  # noqa: S608
_TRANSITS = f"""
    SELECT origin, camera AS target, (start_ns - left_ns) / 1e9 AS seconds FROM (
        SELECT camera, start_ns, lag(camera) OVER steps AS origin, lag(end_ns) OVER steps AS left_ns
        FROM (
            SELECT global_id, camera, track, start_ns, end_ns FROM tracklets
            WHERE {_VISIBLE} ORDER BY end_ns DESC LIMIT :limit
        )
        WINDOW steps AS (PARTITION BY global_id ORDER BY start_ns, camera, track)
    ) WHERE origin <> camera
"""  # noqa: S608
_PICTURES = f"""
    SELECT CAST(id AS TEXT) AS name, global_id, camera, track, time_ns AS ns, quality,
           pictures.width, pictures.height
    FROM pictures JOIN tracklets USING (camera, track)
    WHERE (:id IS NULL OR global_id = :id) AND {_VISIBLE}
    ORDER BY global_id, quality DESC, id LIMIT :limit
"""  # noqa: S608
_PICTURE = f"""
    SELECT CAST(id AS TEXT) AS name, global_id, camera, track, time_ns AS ns, quality,
           pictures.width, pictures.height, jpeg
    FROM pictures JOIN tracklets USING (camera, track) WHERE id = :id AND {_VISIBLE}
"""  # noqa: S608
_LATEST = (1 << 63) - 1


class Policy(NamedTuple):
    """What a run has said may be done with its pictures.

    Attributes:
        keep_ns: Nanoseconds that they are kept; None where nothing was said.
        harvest_since_ns: They may be taken for training if they are from then or later, UTC; None
            where they may not.
    """

    keep_ns: int | None
    harvest_since_ns: int | None


class Reader:
    """Reads a gallery; any thread may, one at a time. Nothing here waits for the run, nor it.

    What a run has seen in the last second may not be there yet. Wherever `cameras` is given, the
    answer is made from what those cameras have seen and nothing else; None means all.

    Args:
        path: A gallery's file.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro",
            uri=True,
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.row_factory = sqlite3.Row

    @contextmanager
    def at_one_time(self) -> Iterator[None]:
        """Have all questions in the block answered from what was there when the first was asked."""
        with self.lock:
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    def page(
        self,
        *,
        limit: int,
        before: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        within: Collection[str] | None = None,
        cameras: Collection[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return identities, those that began last first.

        Args:
            limit: At most so many.
            before: Only ids below this one: the last of the page before.
            since_ns: Only who was seen then or later ...
            until_ns: ... and then or earlier, UTC.
            within: Only who was seen by these in that time; None for all.
            cameras: What these have seen is told.

        Returns:
            ``global_id``, ``first_ns``, ``last_ns``, ``tracklets``, ``cameras`` and ``picture``
            (the name of the best, or None) of each, at any time.
        """
        ids = [
            row["global_id"]
            for row in self._ask(
                _PAGE,
                before=_LATEST if before is None else before,
                since=-_LATEST if since_ns is None else since_ns,
                until=_LATEST if until_ns is None else until_ns,
                limit=limit,
                cameras=_list(within),
            )
        ]
        return self._summaries(ids, cameras)

    def identity(
        self, global_id: int, cameras: Collection[str] | None = None
    ) -> dict[str, Any] | None:
        """Return one identity as `page` does; None when nothing of it is there."""
        found = self._summaries([global_id], cameras)
        return found[0] if found else None

    def knows(self, global_id: int) -> bool:
        """Return whether anything is kept of an identity that was not merged."""
        rows = self._ask(
            "SELECT 1 FROM identities WHERE global_id = :id AND merged_into IS NULL", id=global_id
        )
        return bool(rows)

    def resolve(self, global_id: int) -> int:
        """Return who an identity is by now: it may have been merged, and that one again."""
        seen = {global_id}
        while True:
            rows = self._ask(
                "SELECT merged_into FROM identities WHERE global_id = :id", id=global_id
            )
            into = rows[0]["merged_into"] if rows else None
            if into is None or into in seen:
                return global_id
            global_id = into
            seen.add(into)

    def names(self, global_id: int) -> list[int]:
        """Return the ids that were merged into this one, also by way of others, ascending."""
        rows = self._ask(
            "WITH RECURSIVE gone (id) AS ("
            "SELECT global_id FROM identities WHERE merged_into = :id UNION "
            "SELECT global_id FROM identities JOIN gone ON merged_into = gone.id"
            ") SELECT id FROM gone ORDER BY id",
            id=global_id,
        )
        return [row["id"] for row in rows]

    def journey(
        self, global_id: int, cameras: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return where somebody was, in order: camera, track, and from when to when."""
        return self._ask(_JOURNEY, id=global_id, cameras=_list(cameras))

    def events(
        self, global_id: int, *, limit: int, cameras: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the latest of what happened to somebody, in order.

        Events of no camera (merged, split, ended) are left out where cameras are given.
        """
        found = self._ask(_EVENTS, id=global_id, limit=limit, cameras=_list(cameras))
        return found[::-1]

    def stored(
        self, global_id: int, cameras: Collection[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return all columns of somebody's tracklets, looks included."""
        return self._ask(_STORED, id=global_id, cameras=_list(cameras))

    def policy(self) -> Policy:
        """Return what the run has said may be done with its pictures."""
        if not self._ask("SELECT 1 FROM sqlite_master WHERE name = 'policy'"):
            return Policy(None, None)
        said = {row["name"]: row["value"] for row in self._ask("SELECT * FROM policy")}
        return Policy(said.get(KEEP), said.get(HARVEST))

    def audit_rows(self) -> tuple[int, int]:
        """Return how many rows of the audit are kept, and how many were let go since it began."""
        (found,) = self._ask(
            "SELECT (SELECT min(id) FROM audit) AS first, (SELECT max(id) FROM audit) AS last"
        )
        if found["first"] is None:
            return 0, 0
        return found["last"] - found["first"] + 1, found["first"] - 1

    def looks(
        self, model_id: str, *, limit: int, cameras: Collection[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Return all columns of the newest tracklets with embeddings of a model, one by one.

        Nobody else reads meanwhile.
        """
        values = {"model": model_id, "limit": limit, "cameras": _list(cameras)}
        with self.lock:
            for row in self._connection.execute(_LOOKS, values):
                yield dict(row)

    def transits(
        self, *, limit: int, cameras: Collection[str] | None = None
    ) -> dict[tuple[str, str], list[float]]:
        """Return the seconds between leaving a camera and appearing next in another.

        By ordered pair of cameras, as the association counts them; 0 for who was in both at once.

        Args:
            limit: Of the newest so many tracklets.
            cameras: As seen by these; None for all.
        """
        out: dict[tuple[str, str], list[float]] = {}
        for row in self._ask(_TRANSITS, limit=limit, cameras=_list(cameras)):
            out.setdefault((row["origin"], row["target"]), []).append(max(0.0, row["seconds"]))
        return out

    def pictures(
        self,
        global_id: int | None = None,
        *,
        limit: int | None = None,
        cameras: Collection[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return what is said of pictures, those of best quality first.

        Args:
            global_id: Of whom; None for everybody, one after the other.
            limit: At most so many; None for all.
            cameras: Only of what these have seen.

        Returns:
            ``name``, ``global_id``, ``camera``, ``track``, ``ns``, ``quality``, ``width`` and
            ``height`` of each.
        """
        most = -1 if limit is None else limit
        return self._ask(_PICTURES, id=global_id, limit=most, cameras=_list(cameras))

    def picture(self, name: str, cameras: Collection[str] | None = None) -> dict[str, Any] | None:
        """Return a picture as `pictures` does, with its ``jpeg``; None when it is not there."""
        if not (name.isascii() and name.isdigit() and len(name) < 19):
            return None
        found = self._ask(_PICTURE, id=int(name), cameras=_list(cameras))
        return found[0] if found else None

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._connection.close()

    def _summaries(self, ids: list[int], cameras: Collection[str] | None) -> list[dict[str, Any]]:
        found = self._ask(_SUMMARY, ids=json.dumps(ids), cameras=_list(cameras))
        for each in found:
            each["cameras"] = sorted(json.loads(each["cameras"]))
        return found

    def _ask(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        with self.lock:
            return [dict(row) for row in self._connection.execute(sql, values).fetchall()]


def _list(cameras: Collection[str] | None) -> str | None:
    return None if cameras is None else json.dumps(sorted(cameras))
