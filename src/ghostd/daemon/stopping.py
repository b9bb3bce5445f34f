"""Stops a ghost from outside: ask gracefully, wait as long as was promised, press harder, and return when it has ended.

Rule: nobody is signalled on the word of a file. The kernel names the process that holds the lock; a pidfd then stands
for that very process, whatever becomes of its number. Where there are no pidfds, its start time is compared before each
signal.
"""

import errno
import os
import select
import signal
import time
from enum import Enum
from typing import Final, NamedTuple, Self

from ghostd.daemon.pidfile import FilePid
from ghostd.errors import DeniedError
from ghostd.linux import procfs

_TERM_LIMIT: Final = 5.0  # seconds from TERM to KILL: at once means at once, and a loaded machine needs moments
_KILL_LIMIT: Final = 5.0  # seconds from KILL until it counts as unkillable, as kill_timeout has it for spirits
_LOOK_FIRST, _LOOK_MOST = 0.001, 0.02  # seconds between looks where there is no pidfd: soon at first, then less often
_ROUNDS: Final = 20  # how often a tree is looked over for processes that it has made meanwhile


class StopState(Enum):
    """How a stop ended."""

    NOT_RUNNING = "not running"
    GRACEFUL = "stopped gracefully"
    AT_ONCE = "stopped at once"
    KILLED = "killed"
    STILL_THERE = "still there"


class StopResult(NamedTuple):
    """``pid`` of the manager, 0 when there was none; ``left``: processes of its tree that could not be ended."""

    pid: int
    state: StopState
    left: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state is not StopState.STILL_THERE and not self.left


def stop(pidfile: FilePid, graceful_limit: float, margin: float = 5.0, *, use_pidfd: bool = True) -> StopResult:
    """Ask the manager to quit; after ``graceful_limit`` + ``margin`` seconds to end at once; then kill it and its tree.

    Returns within milliseconds of its end; a zombie has ended. What a killed one leaves behind is removed. DeniedError
    when it is another user's, or runs without its lock, so that nobody can be sure which process it is.
    """
    manager = _manager(pidfile, use_pidfd)
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


class Handle:
    """A handle on a process that is not our child, and on no other that may get its number later."""

    def __init__(self, pid: int, *, use_pidfd: bool = True) -> None:
        self.pid = pid
        self._start = procfs.start_ticks(pid)
        self._fd = _pidfd(pid) if use_pidfd else -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, signum: int) -> bool:
        """Send a signal; False when it has ended. DeniedError when it is another user's."""
        try:
            if self._fd >= 0:
                signal.pidfd_send_signal(self._fd, signum)
            elif self.has_ended():
                return False
            else:
                os.kill(self.pid, signum)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise DeniedError(
                f"process {self.pid} cannot be signalled by uid {os.geteuid()}: it is another user's"
            ) from error
        return True

    def has_ended(self) -> bool:
        """Whether it has ended, a zombie included."""
        if self._fd >= 0:
            return _is_readable(self._fd, 0)
        return self._start is None or procfs.start_ticks(self.pid) != self._start or procfs.is_zombie(self.pid)

    def wait_end(self, limit: float) -> bool:
        """Wait until it has ended, for ``limit`` seconds; whether it has."""
        until = time.monotonic() + limit
        pause = _LOOK_FIRST
        while not self.has_ended():
            rest = until - time.monotonic()
            if rest <= 0:
                return False
            if self._fd >= 0:
                _is_readable(self._fd, rest)
            else:
                select.select([], [], [], min(pause, rest))
                pause = min(pause * 1.5, _LOOK_MOST)
        return True

    def close(self) -> None:
        """Give the handle back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _manager(pidfile: FilePid, use_pidfd: bool) -> Handle | None:  # noqa: FBT001  handed through
    """The process that holds the lock, named beyond doubt."""
    pid = pidfile.holder()
    if pid is None:
        _refuse_text(pidfile)
        return None
    manager = Handle(pid, use_pidfd=use_pidfd)
    # It held the lock before the handle was made and holds it after: the handle is on the holder.
    if pidfile.holder() != pid:
        manager.close()
        return _manager(pidfile, use_pidfd)
    return manager


def _refuse_text(pidfile: FilePid) -> None:
    pid = pidfile.running()
    if pid is not None:
        raise DeniedError(
            f"process {pid} is named by {pidfile.file}, but nobody holds the lock beside it, so it is not signalled; "
            f"make sure that it is the ghost, then: kill -QUIT {pid}"
        )


def _kill_tree(manager: Handle, use_pidfd: bool) -> tuple[int, ...]:  # noqa: FBT001  handed through
    """End the manager and all its descendants with SIGKILL; the pids of those that are still there after the limit.

    They are stopped first, parents before children, until a look finds no new one: nobody can then start another while
    the rest is killed.
    """
    tree = {manager.pid: manager}
    manager.send(signal.SIGSTOP)
    denied: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = [pid for pid in procfs.descendants(manager.pid) if pid not in tree and pid not in denied]
        if not fresh:
            break
        for pid in fresh:
            _freeze(pid, tree, denied, use_pidfd)
    for process in tree.values():
        process.send(signal.SIGKILL)
    until = time.monotonic() + _KILL_LIMIT
    left = {pid for pid, process in tree.items() if not process.wait_end(max(0.0, until - time.monotonic()))}
    for pid, process in tree.items():
        if pid != manager.pid:
            process.close()
    return tuple(sorted(left | denied))


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


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except AttributeError:
        return -1
    except OSError as error:
        if error.errno in (
            errno.ESRCH,
            errno.EINVAL,
            errno.ENOSYS,
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOMEM,
            errno.ENODEV,
        ):
            return -1  # gone: its start time tells; or no pidfds, or no descriptor left for one
        raise


def _is_readable(fd: int, limit: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(limit * 1000))
