"""The queue: jobs and results in one database, SQLite here and PostgreSQL in postgres.py.

Rule: a file may be milled more than once, its result enters the database exactly once, because the result and the end
of the claim are one transaction. A claim lives as long as its spirit, whatever ends that; no clock is asked.

How SQLite knows that the owner of a claim is dead: each owner holds a lock on its own byte of a file beside the
database. The kernel takes the lock away with the process, so a claim whose byte can be locked is free again. A spirit
that is only stopped keeps its claim until the manager has killed it.
"""

import fcntl
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from examples.wordmill.tally import Tally


@dataclass(frozen=True, slots=True)
class Job:
    """One file to mill, in one round over the corpus."""

    id: int
    path: str
    round: int


@dataclass(frozen=True, slots=True)
class Result:
    """What the database says of one job; ``done`` is how often it was completed."""

    path: str
    round: int
    done: int
    tally: Tally | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the job is: files done, files in all, and files done by each spirit's pid."""

    done: int
    files: int
    by_pid: dict[int, int]


class ClaimLostError(Exception):
    """A job was completed by a spirit that did not own it, or not any more; nothing was written."""


class Queue(ABC):
    """What both databases promise. Open it in the process that uses it: a connection does not survive a fork."""

    @abstractmethod
    def fill(self, paths: Sequence[str], rounds: int = 1, first: int = 0) -> None:
        """Make the tables and one job for each path and round; jobs that are there already stay as they are."""

    @abstractmethod
    def claim(self) -> Job | None:
        """Take the first job that nobody living has. None: nothing to take now, or the database is busy."""

    @abstractmethod
    def complete(self, job: Job, tally: Tally) -> bool:
        """Write the result and end the claim in one transaction. False: the database is busy, try again."""

    @abstractmethod
    def taken_over(self) -> int | None:
        """How many claims of dead spirits were taken over; None when the database keeps no trace of them."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; a claim that was not completed becomes free."""

    @abstractmethod
    def _rows(self, sql: str) -> list[Any]:
        """All rows of a query, outside any transaction of the caller."""

    def progress(self) -> Progress:
        """How far the job is."""
        [(files, done)] = self._rows("SELECT COUNT(*), COALESCE(SUM(done), 0) FROM job")
        by_pid = dict(self._rows("SELECT pid, COUNT(*) FROM result GROUP BY pid"))
        return Progress(int(done), int(files), by_pid)

    def results(self) -> list[Result]:
        """Every job with what is stored for it, in the order of the queue; a job with two results appears twice."""
        tokens: dict[int, dict[str, int]] = {}
        for job, kind, count in self._rows("SELECT job, type, count FROM token"):
            tokens.setdefault(job, {})[kind] = count
        rows = self._rows(
            "SELECT job.id, path, round, done, sha256, error FROM job "
            "LEFT JOIN result ON result.job = job.id ORDER BY job.id"
        )
        return [
            Result(path, number, done, None if sha256 is None else Tally(sha256, tokens.get(job, {}), error))
            for job, path, number, done, sha256, error in rows
        ]

    def totals(self) -> dict[str, int]:
        """Tokens of each type in all, added up by the completions: one that was applied twice shows here."""
        return dict(self._rows("SELECT type, count FROM total"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def open_queue(where: str) -> Queue:
    """Open the queue at a ``postgresql://`` URL, else in the SQLite file of that name."""
    if where.startswith(("postgresql://", "postgres://")):
        from examples.wordmill.postgres import PostgresQueue  # noqa: PLC0415  psycopg is needed for this one alone

        return PostgresQueue(where)
    return SqliteQueue(where)


class SqliteQueue(Queue):
    """The queue in a file. At most one a process: the locks belong to a process, not to an object."""

    SCHEMA = """
        CREATE TABLE IF NOT EXISTS job (
            id INTEGER PRIMARY KEY, path TEXT NOT NULL, round INTEGER NOT NULL,
            owner INTEGER, claims INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, UNIQUE (path, round));
        CREATE INDEX IF NOT EXISTS job_free ON job (id) WHERE done = 0 AND owner IS NULL;
        CREATE INDEX IF NOT EXISTS job_held ON job (id) WHERE done = 0 AND owner IS NOT NULL;
        CREATE TABLE IF NOT EXISTS owner (id INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS result (
            job INTEGER PRIMARY KEY REFERENCES job (id), sha256 TEXT NOT NULL, error TEXT, pid INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS token (
            job INTEGER NOT NULL, type TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (job, type)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS total (type TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
    """
    ADD = "INSERT INTO total VALUES (?, ?) ON CONFLICT (type) DO UPDATE SET count = count + excluded.count"

    def __init__(self, path: str, busy: float = 1.0) -> None:
        """Open the database; a writer waits ``busy`` seconds for another, a short time so that a spirit still ticks."""
        self._owner = 0  # our byte of the lock file, once we have claimed something
        self._db = sqlite3.connect(path, timeout=busy, isolation_level=None)
        # kill -9 takes nothing from the kernel; only a power cut could cost NORMAL the last commits, never consistency.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._locks = os.open(f"{path}-owners", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def fill(self, paths: Sequence[str], rounds: int = 1, first: int = 0) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(self.SCHEMA)
        jobs = ((path, number) for number in range(first, rounds) for path in paths)
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO job (path, round) VALUES (?, ?)", jobs)

    def claim(self) -> Job | None:
        try:
            self._enrol()
            with self._transaction():
                job = self._orphan() or self._free()
                if job is not None:
                    claim = "UPDATE job SET owner = ?, claims = claims + 1 WHERE id = ?"
                    self._db.execute(claim, (self._owner, job.id))
                return job
        except sqlite3.OperationalError as error:
            _raise_unless_busy(error)
            return None

    def complete(self, job: Job, tally: Tally) -> bool:
        try:
            with self._transaction():
                self._complete(job, tally)
        except sqlite3.OperationalError as error:
            _raise_unless_busy(error)
            return False
        return True

    def taken_over(self) -> int:
        [(count,)] = self._rows("SELECT COALESCE(SUM(claims - 1), 0) FROM job WHERE claims > 1")
        return int(count)

    def close(self) -> None:
        self._db.close()
        os.close(self._locks)  # the kernel drops our lock with it

    def _rows(self, sql: str) -> list[Any]:
        return self._db.execute(sql).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: the write lock is taken first, so nothing that was read can be out of date when it is acted upon.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _enrol(self) -> None:
        """Take a number that no owner ever had and lock the byte of that number, before any claim bears it."""
        if self._owner:
            return
        with self._transaction():
            owner = self._db.execute("INSERT INTO owner (pid) VALUES (?)", (os.getpid(),)).lastrowid or 0
        fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, owner)
        self._owner = owner

    def _orphan(self) -> Job | None:
        # There are never more held jobs than spirits, so asking the kernel about each costs microseconds.
        held = self._rows("SELECT owner, id, path, round FROM job WHERE done = 0 AND owner IS NOT NULL ORDER BY id")
        return next((Job(*job) for owner, *job in held if owner == self._owner or self._is_dead(owner)), None)

    def _free(self) -> Job | None:
        rows = self._rows("SELECT id, path, round FROM job WHERE done = 0 AND owner IS NULL ORDER BY id LIMIT 1")
        return Job(*rows[0]) if rows else None

    def _is_dead(self, owner: int) -> bool:
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, owner)
        except OSError:  # EACCES or EAGAIN, by system: somebody living holds it
            return False
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, owner)
        return True

    def _complete(self, job: Job, tally: Tally) -> None:
        owned = "UPDATE job SET done = done + 1 WHERE id = ? AND owner = ? AND done = 0"
        if self._db.execute(owned, (job.id, self._owner)).rowcount != 1:
            raise ClaimLostError(f"job {job.id} ({job.path}) is not claimed by pid {os.getpid()}, or not any more")
        result = (job.id, tally.sha256, tally.error, os.getpid())
        self._db.execute("INSERT INTO result (job, sha256, error, pid) VALUES (?, ?, ?, ?)", result)
        self._db.executemany("INSERT INTO token VALUES (?, ?, ?)", [(job.id, *token) for token in tally.tokens.items()])
        self._db.executemany(self.ADD, tally.tokens.items())


def _raise_unless_busy(error: sqlite3.OperationalError) -> None:
    """Pass over an error that only says that another process holds the write lock, perhaps because it is stopped."""
    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
        raise error
