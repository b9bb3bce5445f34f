"""How each kind of fault is done to a ghost: entered when it is due, left when its time is over.

Rule: signals go to processes of the ghost only, looked up at that moment. What was limited is set free again.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.soak.ghosts import PORT, Ghost
from tests.faults.soak.kinds import WEB
from tests.support import children_of

if TYPE_CHECKING:
    from pathlib import Path

Strike = Callable[["Field", Ghost, float], AbstractContextManager[list[int]]]

HOUR: Final = 3600
PROCESSOR: Final = 0.05
IDLE: Final = 60  # connections
ROOM_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Field:
    """Where the soak takes place."""

    clock: Path  # what libfaketime reads


def _send(pid: int, signum: int) -> list[int]:
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signum)
            return [pid]
    return []


def _one(ghost: Ghost, pick: float) -> int:
    spirits = ghost.spirits()
    return spirits[int(pick * len(spirits))] if spirits else 0


def _to_spirit(signum: int, after: int = 0) -> Strike:
    @contextmanager
    def strike(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
        victims = _send(_one(ghost, pick), signum)
        yield victims
        for victim in victims if after else ():
            _send(victim if victim in ghost.spirits() else 0, after)

    return strike


def _to_manager(signum: int, after: int = 0) -> Strike:
    @contextmanager
    def strike(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
        struck = _send(ghost.manager, signum)
        yield struck
        for manager in struck if after else ():
            _send(manager if manager == ghost.pid else 0, after)

    return strike


@contextmanager
def _kill_all(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    yield [pid for spirit in ghost.spirits() for pid in _send(spirit, signal.SIGKILL)]


@contextmanager
def _rotate(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    with suppress(FileNotFoundError):
        ghost.log.rename(ghost.log.with_suffix(".log.1"))
    yield _send(ghost.manager, signal.SIGUSR1)


# ── control groups ──
@contextmanager
def _freeze(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    group = ghost.groups["freezer"]
    with suppress(AssertionError):  # one that is being born may hold it up for longer than this waits
        group.freeze()
    yield []
    group.thaw()


@contextmanager
def _starve(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    group = ghost.groups["cpu"]
    group.allow_processor(PROCESSOR)
    yield []
    group.allow_processor(100.0)


@contextmanager
def _limit_processes(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    group = ghost.groups["pids"]
    group.allow_processes(max(1, group.processes() - 1))
    yield _send(_one(ghost, pick), signal.SIGKILL)
    group.allow_processes(None)


@contextmanager
def _limit_memory(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    group = ghost.groups["memory"]
    with suppress(OSError):  # EBUSY: it has just grown
        group.allow_memory(group.memory() + ROOM_BYTES)
    with ExitStack() as stack:
        if ghost.name == WEB:  # whoever answers this grows; in the mill, jobs do
            with suppress(OSError):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), 2.0))
                sock.sendall(b"GET /grow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        yield []
    group.allow_memory(None)


# ── disk, descriptors, clock ──
@contextmanager
def _fill(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    filler = ghost.disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):  # ENOSPC
        while True:
            file.write(bytes(1 << 16))
    yield []
    filler.unlink()


@contextmanager
def _limit_descriptors(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    """The manager and one spirit may not open one more."""
    before: dict[int, tuple[int, int]] = {}
    for pid in filter(None, [ghost.manager, _one(ghost, pick)]):
        with suppress(OSError, ValueError):
            highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
            old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, old[1]))
            before[pid] = old
    yield list(before)
    for pid in [pid for manager in before for pid in (manager, *children_of(manager))]:
        with suppress(OSError):  # those that were born meanwhile have the manager's limit
            resource.prlimit(pid, resource.RLIMIT_NOFILE, next(iter(before.values())))


@contextmanager
def _step(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
    set_clock(field.clock, HOUR if pick < 0.5 else -HOUR)
    yield []
    set_clock(field.clock, 0)


def set_clock(clock: Path, seconds: int) -> None:
    """Have the wall clock of whoever reads this file differ by so much."""
    fresh = clock.with_suffix(".fresh")
    fresh.write_text(f"{seconds:+d}\n")
    fresh.replace(clock)  # at once: nobody reads half of it


# ── clients that are a burden ──
def _burden(count: int, *words: bytes) -> Strike:
    """So many connections, on which these words are sent and nothing more; at the end they are closed."""

    @contextmanager
    def strike(field: Field, ghost: Ghost, pick: float) -> Iterator[list[int]]:
        with ExitStack() as stack:
            for _ in range(count):
                with suppress(OSError):
                    sock = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), 2.0))
                    for word in words:
                        sock.sendall(word)
            yield []

    return strike


STRIKES: Final[dict[str, Strike]] = {
    "kill a spirit": _to_spirit(signal.SIGKILL),
    "stop a spirit": _to_spirit(signal.SIGSTOP),
    "pause a spirit": _to_spirit(signal.SIGSTOP, signal.SIGCONT),
    "terminate a spirit": _to_spirit(signal.SIGTERM),
    "kill all spirits": _kill_all,
    "kill the manager": _to_manager(signal.SIGKILL),
    "pause the manager": _to_manager(signal.SIGSTOP, signal.SIGCONT),
    "terminate the manager": _to_manager(signal.SIGTERM),
    "reload": _to_manager(signal.SIGHUP),
    "scale": _to_manager(signal.SIGTTIN, signal.SIGTTOU),
    "rotate the log": _rotate,
    "freezer": _freeze,
    "processor quota": _starve,
    "memory limit": _limit_memory,
    "process limit": _limit_processes,
    "full disk": _fill,
    "descriptor limit": _limit_descriptors,
    "clock step": _step,
    "slow clients": _burden(8, b"GET /slow HTTP/1.1\r\nHost: x\r\n"),
    "idle clients": _burden(IDLE),
}
