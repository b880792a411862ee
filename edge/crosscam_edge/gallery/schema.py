"""The tables of a gallery, and how older ones become these."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

# Each step leads from one version to the next. What was released is never changed, only added to.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE identities (
        global_id INTEGER PRIMARY KEY,
        first_ns INTEGER NOT NULL,
        last_ns INTEGER NOT NULL,
        merged_into INTEGER  -- identity that it turned out to be
    );
    CREATE INDEX identities_last ON identities (last_ns);
    CREATE TABLE tracklets (
        camera TEXT NOT NULL,
        track INTEGER NOT NULL,
        global_id INTEGER NOT NULL,
        start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL,
        start_frame INTEGER NOT NULL,
        end_frame INTEGER NOT NULL,
        observations INTEGER NOT NULL,
        sure_first_ns INTEGER,
        sure_last_ns INTEGER,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        boxes BLOB NOT NULL,       -- entry and exit box, entry and exit velocity: 12 float32
        model_id TEXT NOT NULL,
        embeddings BLOB,           -- (M, D) float32, little-endian; NULL once they are let go
        times BLOB,                -- (M,) int64
        qualities BLOB,            -- (M,) float32
        PRIMARY KEY (camera, track)
    ) WITHOUT ROWID;
    CREATE INDEX tracklets_identity ON tracklets (global_id, start_ns);
    CREATE INDEX tracklets_end ON tracklets (end_ns);
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        time_ns INTEGER NOT NULL,
        kind TEXT NOT NULL,
        global_id INTEGER NOT NULL,
        other_id INTEGER,
        camera TEXT,
        track INTEGER,
        odds REAL,
        runner_up REAL,
        runner_up_id INTEGER
    );
    CREATE INDEX events_identity ON events (global_id);
    CREATE INDEX events_time ON events (time_ns);
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY,
        time_ns INTEGER NOT NULL,
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    """,
    # A row that is replaced fires no trigger of deletion (recursive_triggers is off): tracklets are
    # brought up to date like that.
    """
    CREATE TABLE pictures (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: it is the name for clients
        camera TEXT NOT NULL,
        track INTEGER NOT NULL,
        time_ns INTEGER NOT NULL,
        quality REAL NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        jpeg BLOB NOT NULL,
        UNIQUE (camera, track, time_ns)
    );
    CREATE TRIGGER pictures_deleted AFTER DELETE ON tracklets BEGIN
        DELETE FROM pictures WHERE camera = old.camera AND track = old.track;
    END;
    CREATE TRIGGER pictures_let_go AFTER UPDATE OF embeddings ON tracklets
    WHEN new.embeddings IS NULL BEGIN
        DELETE FROM pictures WHERE camera = old.camera AND track = old.track;
    END;
    """,
    """
    ALTER TABLE events ADD COLUMN cause TEXT;  -- NULL where the association found it
    CREATE INDEX events_cause ON events (cause) WHERE cause NOT NULL;
    """,
    # What those who read the file later have to keep to, also when no run has it open.
    """
    CREATE TABLE policy (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    """,
)
APPLICATION_ID = 0x43524F53  # "CROS"
KEEP, HARVEST = "keep_ns", "harvest_since_ns"  # names in the table `policy`


def connect(path: Path) -> sqlite3.Connection:
    """Open a gallery, and bring an older one up to date.

    Raises:
        InputError: The file is no gallery, is damaged, was written by a later version, or cannot be
            opened.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=10.0, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except InputError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (owner != APPLICATION_ID and tables) or (owner == APPLICATION_ID and not version):
        raise InputError(
            f"{path} is a database of something else",
            expected="a gallery of crosscam, or no file",
            fix="choose another path",
        )
    if version > len(MIGRATIONS):
        raise InputError(
            f"{path} was written by a later crosscam (version {version} of its tables)",
            expected=f"version {len(MIGRATIONS)} or less",
            fix="update crosscam, or choose another path",
        )
    # What is written is safe against a crash of the process at once, of the machine at the next
    # checkpoint; readers never wait for the writer.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # What is erased is overwritten, not only left out of the index.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA recursive_triggers = OFF")
    for number in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN; {MIGRATIONS[number]} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {number + 1}; COMMIT;"
        )


def _unusable(path: Path, error: sqlite3.Error) -> InputError:
    return InputError(
        f"the gallery {path} cannot be used ({error})",
        expected="a gallery of crosscam in a folder that can be written",
        fix="check the path; a damaged file can be saved with `sqlite3 FILE .recover`, or removed",
    )
