"""Keys and values in SQLite, which all spirits share: whichever of them is asked, the answer is the same.

A spirit opens it for itself, because a connection of SQLite must not go through a fork. A turn is one transaction; one
whose spirit is killed has not been. Moments are those of the machine's monotonic clock, which all processes share: the
store does not outlive its ghost.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 2.0  # seconds for which a turn waits for another spirit's

_TABLE = "CREATE TABLE pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL, ends REAL) WITHOUT ROWID"
_INDEX = "CREATE INDEX endings ON pairs (ends) WHERE ends IS NOT NULL"
_LIVES = "(ends IS NULL OR ends > ?)"


class BusyError(Exception):
    """Another spirit has the store, and has had it for too long."""


def create(place: Path) -> None:
    """An empty store; what an earlier ghost has left there goes."""
    remove(place)
    database = sqlite3.connect(place)
    database.execute("PRAGMA journal_mode = WAL")  # who reads does not wait for who writes
    database.execute(_TABLE)
    database.execute(_INDEX)
    database.close()


def remove(place: Path) -> None:
    """The store and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm"):
        place.with_name(place.name + ending).unlink(missing_ok=True)


class Store:
    """One spirit's way to it."""

    def __init__(self, place: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._database = sqlite3.connect(place, timeout=PATIENCE, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")  # it need not survive the machine

    @contextmanager
    def turn(self, *, writes: bool) -> Iterator[None]:
        """A block that is done as a whole, or not at all; BusyError when it could not begin."""
        try:
            self._database.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        except sqlite3.OperationalError as error:
            raise BusyError(str(error)) from error
        try:
            if writes:
                self._database.execute("DELETE FROM pairs WHERE ends <= ?", (self._clock(),))
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def get(self, key: bytes) -> bytes | None:
        now = self._clock()
        found: tuple[bytes] | None = self._one(f"SELECT value FROM pairs WHERE key = ? AND {_LIVES}", key, now)
        return None if found is None else found[0]

    def set(self, key: bytes, value: bytes, seconds: float | None = None) -> None:
        ends = None if seconds is None else self._clock() + seconds
        self._database.execute("REPLACE INTO pairs VALUES (?, ?, ?)", (key, value, ends))

    def change(self, key: bytes, value: bytes) -> None:
        """Another value; when it ends stays what it is."""
        self._database.execute(
            "INSERT INTO pairs VALUES (?1, ?2, NULL) ON CONFLICT DO UPDATE SET value = ?2", (key, value)
        )

    def delete(self, key: bytes) -> bool:
        return self._database.execute("DELETE FROM pairs WHERE key = ?", (key,)).rowcount > 0

    def expire(self, key: bytes, seconds: float) -> bool:
        done = self._database.execute("UPDATE pairs SET ends = ? WHERE key = ?", (self._clock() + seconds, key))
        return done.rowcount > 0

    def left(self, key: bytes) -> float | None:
        """For how many seconds the key is still there: None when for good. KeyError when it is not."""
        now = self._clock()
        found: tuple[float | None] | None = self._one(f"SELECT ends FROM pairs WHERE key = ? AND {_LIVES}", key, now)
        if found is None:
            raise KeyError(key)
        return None if found[0] is None else found[0] - now

    def _one(self, query: str, *values: object) -> Any:  # noqa: ANN401  a row, of whatever the query asks for
        return self._database.execute(query, values).fetchone()
