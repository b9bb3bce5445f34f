"""What the kernel says of processes, and how the benchmark ends what it has started: by pid, and all of it.

The benchmark makes itself the subreaper of all its descendants, so a daemon that detaches, or a spirit whose manager
was killed, becomes its child and cannot get lost. It reads /proc by itself: a measurement must not rest on what it
measures.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_STATE, _PARENT, _SESSION = 0, 1, 3  # fields of /proc/PID/stat after the command's name


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table."""

    pid: int
    state: str
    parent: int
    session: int


def become_subreaper() -> None:
    """Have the orphans among all descendants become children of this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def table() -> dict[int, Process]:
    """Return all processes, by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                process = look(int(name))
                found[process.pid] = process
    return found


def look(pid: int) -> Process:
    """Return one process; FileNotFoundError or ProcessLookupError when it is gone."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return Process(pid, fields[_STATE], int(fields[_PARENT]), int(fields[_SESSION]))


def descendants(root: int) -> list[int]:
    """Return the pids of all that descend from ``root``, parents first."""
    processes = table()
    found = [root]
    for pid in found:
        found += [one.pid for one in processes.values() if one.parent == pid]
    return found[1:]


def members(sessions: set[int]) -> list[int]:
    """Return the pids of the living members of the sessions: a spirit stays in its manager's, whoever its parent is."""
    return [one.pid for one in table().values() if one.session in sessions and one.state != "Z"]


def end(pid: int, signum: int, limit: float) -> None:
    """Send the signal; SIGKILL if the process is still there after ``limit`` seconds."""
    with watch(pid) as pidfd:
        signal.pidfd_send_signal(pidfd, signum)
        if wait_end(pidfd, limit) is None:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            wait_end(pidfd, limit)


def end_sessions(sessions: set[int], limit: float = 10.0) -> int:
    """Kill all living members of the sessions; reap those that were adopted; return how many were killed."""
    met: set[int] = set()
    deadline = time.monotonic() + limit
    while (left := members(sessions)) and time.monotonic() < deadline:
        _kill_all(left, met)
        time.sleep(0.002)
    me = os.getpid()
    for one in table().values():
        # The command itself is in a session of its own number; its Popen reaps it.
        if one.session in sessions and one.parent == me and one.pid != one.session:
            _reaped(one.pid)
    return len(met)


def sweep(limit: float = 10.0) -> int:
    """Kill and reap all that this process has ever started, whoever else has started it in between; return how many."""
    met: set[int] = set()
    deadline = time.monotonic() + limit
    while (left := [pid for pid in descendants(os.getpid()) if not _reaped(pid)]) and time.monotonic() < deadline:
        _kill_all(left, met)
        time.sleep(0.005)
    return len(met)


def _kill_all(pids: list[int], met: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            met.add(pid)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not os.path.exists(f"/proc/{pid}")


@contextlib.contextmanager
def watch(pid: int) -> Iterator[int]:
    """Hold a pidfd: readable when the process has ended, reaped or not."""
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def wait_end(pidfd: int, limit: float) -> int | None:
    """Wait until the process has ended; return the moment in monotonic nanoseconds, or None after ``limit`` seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return time.monotonic_ns() if poll.poll(limit * 1000) else None


def voluntary_switches(pid: int) -> int:
    """How often the process has given up the CPU to wait."""
    return _status(pid, "voluntary_ctxt_switches")


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of the process, to the nanosecond."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", "rb") as file:
            total += int(file.read().split()[0])
    return total


def private_bytes(pid: int) -> int:
    """Memory that nobody else has mapped."""
    return _rollup(pid, "Private_")


def fair_bytes(pid: int) -> int:
    """Memory, of what is shared the part that falls to this process: the sum over all is what they take (PSS)."""
    return _rollup(pid, "Pss:")


def rss_bytes(pid: int) -> int:
    """Resident memory."""
    return _status(pid, "VmRSS") * 1024


def anonymous_bytes(pid: int) -> int:
    """Resident anonymous memory: heap and stack, whether shared with children or not."""
    return _status(pid, "RssAnon") * 1024


def thread_count(pid: int) -> int:
    """Threads of the process."""
    return _status(pid, "Threads")


def descriptor_count(pid: int) -> int:
    """Open file descriptors of the process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _rollup(pid: int, prefix: str) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(prefix)) * 1024


def _status(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0])
    raise LookupError(f"/proc/{pid}/status has no {field}")
