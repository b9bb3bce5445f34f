"""The same queue in PostgreSQL, where spirits of many machines can share it. Needs psycopg.

Rule: claim, work and completion are one transaction. ``FOR UPDATE SKIP LOCKED`` passes over what others have in hand;
when a spirit dies its connection ends, the server rolls back, and the job is free again.
"""

import os
from collections.abc import Sequence
from typing import Any

import psycopg

from examples.wordmill.queues import ClaimLostError, Job, Queue
from examples.wordmill.tally import Tally


class PostgresQueue(Queue):
    """The queue behind a URL, in a schema of its own."""

    SCHEMA = """
        CREATE SCHEMA IF NOT EXISTS wordmill;
        CREATE TABLE IF NOT EXISTS job (
            id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, path TEXT NOT NULL, round INTEGER NOT NULL,
            done INTEGER NOT NULL DEFAULT 0, UNIQUE (path, round));
        CREATE INDEX IF NOT EXISTS job_open ON job (id) WHERE done = 0;
        CREATE TABLE IF NOT EXISTS result (
            job BIGINT PRIMARY KEY REFERENCES job, sha256 TEXT NOT NULL, error TEXT, pid INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS token (
            job BIGINT NOT NULL, type TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (job, type));
        CREATE TABLE IF NOT EXISTS total (type TEXT PRIMARY KEY, count BIGINT NOT NULL);
    """
    CLAIM = "SELECT id, path, round FROM job WHERE done = 0 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
    ADD = "INSERT INTO total VALUES (%s, %s) ON CONFLICT (type) DO UPDATE SET count = total.count + excluded.count"

    def __init__(self, url: str) -> None:
        """Connect. The lock timeout is short, so that a spirit that waits for a stopped one still ticks."""
        self._db = psycopg.connect(url, options="-c search_path=wordmill -c lock_timeout=1s")

    def fill(self, paths: Sequence[str], rounds: int = 1, first: int = 0) -> None:
        jobs = [(path, number) for number in range(first, rounds) for path in paths]
        self._db.execute(self.SCHEMA)
        self._db.cursor().executemany("INSERT INTO job (path, round) VALUES (%s, %s) ON CONFLICT DO NOTHING", jobs)
        self._db.commit()

    def claim(self) -> Job | None:
        self._db.rollback()  # whatever was claimed and not completed
        row = self._db.execute(self.CLAIM).fetchone()
        if row is None:
            self._db.rollback()  # an idle spirit leaves no transaction open
            return None
        return Job(*row)

    def complete(self, job: Job, tally: Tally) -> bool:
        try:
            with self._db.transaction():  # a savepoint: without the rows of `total` the claim is still ours
                self._complete(job, tally)
        except psycopg.errors.LockNotAvailable:
            return False
        self._db.commit()
        return True

    def taken_over(self) -> None:
        """Unknown: the trace of a dead spirit's claim is rolled back with it."""

    def close(self) -> None:
        self._db.close()

    def _complete(self, job: Job, tally: Tally) -> None:
        cursor = self._db.cursor()
        cursor.execute("UPDATE job SET done = done + 1 WHERE id = %s AND done = 0", (job.id,))
        if cursor.rowcount != 1:
            raise ClaimLostError(f"job {job.id} ({job.path}) is completed already")
        # Sorted: all spirits lock the rows of `total` in the same order, so no two ever wait for each other.
        tokens = sorted(tally.tokens.items())
        result = (job.id, tally.sha256, tally.error, os.getpid())
        cursor.execute("INSERT INTO result (job, sha256, error, pid) VALUES (%s, %s, %s, %s)", result)
        cursor.executemany("INSERT INTO token VALUES (%s, %s, %s)", [(job.id, *token) for token in tokens])
        cursor.executemany(self.ADD, tokens)

    def _rows(self, sql: str) -> list[Any]:
        rows = self._db.execute(sql).fetchall()
        self._db.commit()
        return rows
