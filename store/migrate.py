"""Versions of the catalogue's schema. A step is added for every change and never removed.

``SCHEMA`` is what this program writes. A catalogue of an older version is brought up step by step inside one
transaction; one of a newer version is refused, because what it means is not known here.
"""

from __future__ import annotations

import sqlite3

from event.errors import StoreError

SCHEMA = 2
"""Version of the catalogue that this program reads and writes."""

_STEPS: dict[int, tuple[str, ...]] = {
    1: (
        """CREATE TABLE segments (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            dataset TEXT NOT NULL,
            folder TEXT NOT NULL,
            path TEXT NOT NULL UNIQUE,
            min_time INTEGER NOT NULL,
            max_time INTEGER NOT NULL,
            min_id TEXT NOT NULL,
            max_id TEXT NOT NULL,
            rows INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            columns TEXT NOT NULL
        )""",
        "CREATE INDEX segments_time ON segments (dataset, min_time, max_time)",
        "CREATE INDEX segments_event_id ON segments (dataset, max_id, min_id)",
        "CREATE TABLE tombstones (path TEXT PRIMARY KEY)",
        "CREATE TABLE checkpoints (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        """CREATE TABLE incidents (
            id TEXT NOT NULL,
            version INTEGER NOT NULL,
            status TEXT NOT NULL,
            last_seen INTEGER NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (id, version)
        )""",
    ),
    # A segment of several inputs spans nearly all ids, so that any fresh input seemed to overlap it.
    2: (
        "CREATE TABLE ranges"
        " (segment INTEGER NOT NULL, dataset TEXT NOT NULL, min_id TEXT NOT NULL, max_id TEXT NOT NULL)",
        "INSERT INTO ranges SELECT id, dataset, min_id, max_id FROM segments",
        "CREATE INDEX ranges_event_id ON ranges (dataset, max_id, min_id, segment)",
        "CREATE INDEX ranges_segment ON ranges (segment)",
        "DROP INDEX segments_event_id",
    ),
}


def schema_version(connection: sqlite3.Connection) -> int:
    """Version of the catalogue; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check(connection: sqlite3.Connection, where: str) -> None:
    """Refuse a catalogue that this program cannot read.

    Raises:
        StoreError: It is newer than this program, or older and not brought up yet.
    """
    found = schema_version(connection)
    if found > SCHEMA:
        raise StoreError(
            f"the store has schema {found}, this program knows {SCHEMA} at most",
            where=where,
            hint="install the version of jianmen that wrote it, or a later one",
        )
    if found < SCHEMA:
        raise StoreError(
            f"the store has schema {found}, this program needs {SCHEMA}",
            where=where,
            hint="it is brought up when somebody who may write it opens it",
        )


def migrate(connection: sqlite3.Connection, where: str) -> None:
    """Bring a catalogue to ``SCHEMA``; a new file gets all tables.

    Raises:
        StoreError: It is newer than this program.
    """
    if schema_version(connection) == SCHEMA:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = schema_version(connection)
        for version in range(found + 1, SCHEMA + 1):
            for statement in _STEPS[version]:
                connection.execute(statement)
        if found < SCHEMA:
            connection.execute(f"PRAGMA user_version = {SCHEMA:d}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    check(connection, where)
