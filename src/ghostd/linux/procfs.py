"""What /proc tells about processes. A process may end at any moment, so each answer may be None."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

# The fields of /proc/PID/stat, counted from the state letter that follows the name; proc(5) counts three more.
_STATE, _PARENT, _THREADS, _START = 0, 1, 17, 19


def start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot: with pid and :func:`boot_id` it names one process for ever."""
    fields = _stat(pid)
    return int(fields[_START]) if fields else None


def boot_id() -> str:
    """A name of this boot of the machine; empty where there is none."""
    return _text("/proc/sys/kernel/random/boot_id").strip()


def thread_count() -> int:
    """How many threads this process has, those of C libraries among them; one call, for use before forks."""
    try:
        return os.stat("/proc/self/task").st_nlink - 2
    except FileNotFoundError:
        return len(sys._current_frames())  # noqa: SLF001  documented, and all that is known without /proc


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and waits to be reaped. One whose first thread alone has ended still runs."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] in (b"Z", b"X") and int(fields[_THREADS]) <= 1


def is_stopped(pid: int) -> bool:
    """Whether a signal or a tracer has stopped the process."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] in (b"T", b"t")


def parent(pid: int) -> int | None:
    """The pid of the parent: 0 when that is outside of this PID namespace."""
    fields = _stat(pid)
    return int(fields[_PARENT]) if fields else None


def children(pid: int) -> list[int]:
    """The children of a process, zombies among them, lowest pid first; costs a look at every process there is."""
    return sorted(child for child, ppid in _parents().items() if ppid == pid)


def descendants(pid: int) -> list[int]:
    """The children of a process, their children and so on, parents first; costs a look at every process there is."""
    offspring: dict[int, list[int]] = {}
    for child, ppid in sorted(_parents().items()):
        offspring.setdefault(ppid, []).append(child)
    found: list[int] = []
    wave = [pid]
    while wave:
        wave = [child for one in wave for child in offspring.pop(one, ())]
        found += wave
    return found


def rss_bytes(pid: int) -> int | None:
    """Memory that the process has in RAM, shared pages among it."""
    fields = _text(f"/proc/{pid}/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else None


def private_bytes(pid: int) -> int | None:
    """Memory that would be free if only this process ended: the kernel walks its page tables for it. None if denied."""
    text = _text(f"/proc/{pid}/smaps_rollup")
    private = [line.split() for line in text.splitlines() if line.startswith("Private_")]
    return sum(int(fields[1]) for fields in private) * 1024 if text else None


def switches(pid: int) -> int | None:
    """How often the process went to sleep of its own will: each wake-up of an idle process is one."""
    for line in _text(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name == "voluntary_ctxt_switches":
            return int(value)
    return None


def _parents() -> dict[int, int]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (ppid := parent(int(name))) is not None:
            found[int(name)] = ppid
    return found


def _stat(pid: int) -> list[bytes] | None:
    # The name may hold anything, blanks and parentheses too; the last parenthesis ends it.
    fields = _bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields or None


def _text(path: str) -> str:
    return _bytes(path).decode(errors="replace")


def _bytes(path: str) -> bytes:
    """All of the file; empty when it is not there, its process has ended, or it is not ours to read."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError), open(path, "rb", buffering=0) as file:
        return file.readall()
    return b""
