"""Stops a ghost from outside: ask gracefully, wait as long as was promised, press harder, and return when it has ended.

Rule: nobody is signalled on the word of a file. The kernel names the process that holds the lock, and a handle then
stands for that very process, whatever becomes of its number.
"""

from __future__ import annotations

import signal
import time
from enum import Enum

from ghostd.daemon.handle import Handle
from ghostd.errors import DeniedError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import procfs

if TYPE_CHECKING:
    from typing import Final

    from ghostd.daemon.pidfile import FilePid

__all__ = ["Handle", "StopResult", "StopState", "stop"]

_TERM_LIMIT: Final = 5.0  # seconds from TERM to KILL: at once means at once, and a loaded machine needs moments
_KILL_LIMIT: Final = 5.0  # seconds from KILL until it counts as unkillable, as kill_timeout has it for spirits
_STOP_LIMIT: Final = 0.5  # seconds for SIGSTOP to take hold; who waits for a disk takes longer, and forks nothing
_LOOK_EVERY: Final = 0.001
_ROUNDS: Final = 20  # how often a tree is looked over for processes that it has made meanwhile


class StopState(Enum):
    """How a stop ended."""

    NOT_RUNNING = "not running"
    GRACEFUL = "stopped gracefully"
    AT_ONCE = "stopped at once"
    KILLED = "killed"
    STILL_THERE = "still there"


class StopResult:
    """``pid`` of the manager, 0 when there was none; ``left``: processes of its tree that could not be ended."""

    __slots__ = ("left", "pid", "state")

    def __init__(self, pid: int, state: StopState, left: tuple[int, ...] = ()) -> None:
        self.pid = pid
        self.state = state
        self.left = left

    def __repr__(self) -> str:
        return f"StopResult(pid={self.pid}, state={self.state}, left={self.left})"

    @property
    def ok(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state is not StopState.STILL_THERE and not self.left

    @property
    def answer(self) -> int:
        """As the ancestor tells it: the pid that was stopped, 0 when none was running, -pid when it is still there."""
        return self.pid if self.ok else -self.pid


def stop(
    pidfile: FilePid,
    graceful_limit: float,
    margin: float = 5.0,
    *,
    asked: Handle | None = None,
    use_pidfd: bool = True,
) -> StopResult:
    """Ask the manager to quit; after ``graceful_limit`` + ``margin`` seconds to end at once; then kill it and its tree.

    Returns within milliseconds of its end; a zombie has ended. What a killed one leaves behind is removed. DeniedError
    when it is another user's, or runs without its lock, so that nobody can be sure which process it is. ``asked`` is
    a manager that was asked already: it may have given its lock back, and is waited for all the same.
    """
    manager = asked or pidfile.manager(use_pidfd=use_pidfd)
    if manager is None:
        pidfile.sweep()
        return StopResult(0, StopState.NOT_RUNNING)
    with manager:
        ladder = (
            (signal.SIGQUIT, graceful_limit + margin, StopState.GRACEFUL),
            (signal.SIGTERM, _TERM_LIMIT, StopState.AT_ONCE),
        )
        for signum, limit, state in ladder:
            manager.send(signum)
            manager.send(signal.SIGCONT)  # one that was stopped could not heed it
            if manager.wait_end(limit):
                pidfile.sweep()
                return StopResult(manager.pid, state)
        left = _kill_tree(manager, use_pidfd)
    state = StopState.STILL_THERE if manager.pid in left else StopState.KILLED
    pidfile.sweep()
    return StopResult(manager.pid, state, tuple(pid for pid in left if pid != manager.pid))


def _kill_tree(manager: Handle, use_pidfd: bool) -> tuple[int, ...]:  # noqa: FBT001  handed through
    """End the manager and all its descendants with SIGKILL; the pids of those that are still there after the limit.

    They are stopped first, parents before children, until a look finds no new one: nobody can then start another while
    the rest is killed.
    """
    tree = {manager.pid: manager}
    manager.send(signal.SIGSTOP)
    _wait_stopped(manager)
    denied: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = [pid for pid in procfs.descendants(manager.pid) if pid not in tree and pid not in denied]
        if not fresh:
            break
        for pid in fresh:
            _freeze(pid, tree, denied, use_pidfd)
        for pid in fresh:
            if pid in tree:
                _wait_stopped(tree[pid])
    for process in tree.values():
        process.send(signal.SIGKILL)
    until = time.monotonic() + _KILL_LIMIT
    left = {pid for pid, process in tree.items() if not process.wait_end(max(0.0, until - time.monotonic()))}
    for pid, process in tree.items():
        if pid != manager.pid:
            process.close()
    return tuple(sorted(left | denied))


def _wait_stopped(process: Handle) -> None:
    """Wait until the signal has taken hold: a process in the middle of a fork finishes it first, unseen by a look."""
    until = time.monotonic() + _STOP_LIMIT
    while not procfs.is_stopped(process.pid) and time.monotonic() < until:
        if process.wait_end(_LOOK_EVERY):
            return


def _freeze(pid: int, tree: dict[int, Handle], denied: set[int], use_pidfd: bool) -> None:  # noqa: FBT001  handed through
    process = Handle(pid, use_pidfd=use_pidfd)
    # Looked at again, now that there is a handle: the number may have gone to a stranger since the list was made.
    if procfs.parent(pid) not in tree:
        process.close()
        return
    try:
        process.send(signal.SIGSTOP)
    except DeniedError:
        denied.add(pid)  # it became another user
        process.close()
        return
    tree[pid] = process
