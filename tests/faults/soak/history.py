"""What happened in a soak: one record a line of JSON, written while it happens and read back by whoever judges.

Rule: a record is a fact with its moment, in seconds of the monotonic clock; what it means is for judge.py to say.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Fact(msgspec.Struct, frozen=True, tag=str.lower, tag_field="fact"):
    """Any line."""


class Begun(Fact, frozen=True):
    """The soak as it was asked for; ``cannot``: kinds of fault that this machine has no means for, and why."""

    seed: int
    minutes: float
    commit: str
    cannot: dict[str, str] = {}


class Fault(Fact, frozen=True):
    """What was done to a ghost; ``whole`` is when its pool was whole again, None when that did not come in time."""

    ghost: str
    kind: str
    at: float
    until: float
    whole: float | None = None
    pids: tuple[int, ...] = ()  # whom it has hit, where that is known


class Request(Fact, frozen=True):
    """One request of a client, and what became of it: answered, refused, or what else."""

    number: int
    sent: float
    ended: float
    how: str = "answered"


class Served(Fact, frozen=True):
    """The application had this request in hand: its own word."""

    number: int
    pid: int


class Job(Fact, frozen=True):
    """A job was put into the queue."""

    number: int
    at: float


class Done(Fact, frozen=True):
    """The result of a job was seen in the database."""

    number: int
    at: float


class Difference(Fact, frozen=True):
    """The database is not as the reference says."""

    text: str


class Line(Fact, frozen=True):
    """A line of a ghost's log, when it was read."""

    ghost: str
    at: float
    level: str
    text: str


class Ended(Fact, frozen=True):
    """A manager ended, with this exit code or the negative number of a signal; None: nobody can tell."""

    ghost: str
    at: float
    code: int | None


class Unstarted(Fact, frozen=True):
    """A start was refused."""

    ghost: str
    at: float
    text: str


class Orphans(Fact, frozen=True):
    """So long after the end of a manager these processes of it lived on."""

    ghost: str
    at: float
    after: float
    pids: tuple[int, ...]


class Stall(Fact, frozen=True):
    """Whoever watches did not run itself: the machine was busy."""

    at: float
    until: float


class Left(Fact, frozen=True):
    """Something was there after the ghosts had been stopped in order, or that did not go in order."""

    text: str


Any = (
    Begun | Fault | Request | Served | Job | Done | Difference | Line | Ended | Unstarted | Orphans | Stall | Left
)  # fmt: skip


class History:
    """A file that many threads write to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb", buffering=0)
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode

    def add(self, fact: Any) -> None:
        """Write it down."""
        with self._lock:
            self._file.write(self._encode(fact) + b"\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Any]:
    """The facts in the order in which they were written."""
    decode = msgspec.json.Decoder(Any).decode
    with path.open("rb") as file:
        yield from map(decode, file)
