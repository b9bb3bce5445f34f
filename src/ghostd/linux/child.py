"""A handle on one own child: to signal it, to end its group, to reap it. Nothing here can ever touch a recycled pid.

Two things keep that true. A pid is not given out again before its process is reaped, and only :meth:`Child.reap` reaps.
And where the kernel has pidfds, a signal goes to the process itself; where it has none, the child is looked at first.
SIGCHLD must not be ignored: the kernel would then reap behind our back.
"""

from __future__ import annotations

import _signal
import functools
import os
import select
import signal
import sys
from contextlib import contextmanager
from functools import partial

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostd.linux.process import Call

UNKNOWN: int = -1  # the status of a child that somebody else reaped: it is gone, and nobody can say how

# A signal that reports a fault of the running instruction must not be blocked: the kernel would kill at once. Real-time
# signals are left alone: nobody sends one to a manager, and each more makes the call dearer.
_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT}
)
_MASK_BYTES = 128  # of a sigset_t; the kernel reads the first eight
BLOCKABLE: frozenset[int] = frozenset(range(1, 32)) - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}


class Child:
    """A handle on the own, unreaped child `pid`, made right after its fork."""

    __slots__ = ("_fd", "_status", "pid")

    def __init__(self, pid: int, *, use_pidfd: bool = True) -> None:
        assert pid > 0, f"pid {pid} is no process but a group or everybody"
        self.pid = pid
        self._status: int | None = None
        self._fd = _open(pid) if use_pidfd else -1

    def fileno(self) -> int:
        """The pidfd, readable when the child has ended; -1 where there is none."""
        return self._fd

    def send(self, signum: int) -> bool:
        """Send a signal; False when the child is gone. To a child that ended and is not reaped yet, it does nothing."""
        if self._status is not None:
            return False
        try:
            if self._fd >= 0:
                signal.pidfd_send_signal(self._fd, signum)
            else:
                self._peek()  # raises when the pid is not a child of ours any more
                os.kill(self.pid, signum)
        except (ProcessLookupError, ChildProcessError):
            return False
        return True

    def end_group(self) -> None:
        """SIGKILL to the child and to every process of the group it leads, if it leads one."""
        if self.send(signal.SIGKILL):
            self._kill_group()  # ended or not, the unreaped child still holds its number

    def reap(self) -> int | None:
        """The wait status once the child has ended, else None; never blocks. What is left of its group ends first.

        The same status is given again on later calls. UNKNOWN when somebody else reaped it, which is a fault of theirs.
        """
        if self._status is None:
            self._status = self._try_reap()
        return self._status

    def close(self) -> None:
        """Close the pidfd; a child that is not reaped yet can still be, by its pid."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _try_reap(self) -> int | None:
        for _ in range(2):  # a single ECHILD may be in error; a zombie must not stay for it
            try:
                if not self._peek():
                    return None
                # The zombie still holds its pid, so the number can be nobody else's group.
                self._kill_group()
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                continue
            return status if pid else None
        return None if self._is_alive() else UNKNOWN

    def _peek(self) -> bool:
        """Whether the child has ended, leaving it unreaped; ChildProcessError when it is no child of ours."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if self._fd >= 0:
            return os.waitid(os.P_PIDFD, self._fd, how) is not None
        return os.waitid(os.P_PID, self.pid, how) is not None

    def _kill_group(self) -> None:
        if self.pid == os.getpgrp():
            return  # this process joined its child's group: it will not end itself
        try:  # noqa: SIM105  it is in the way of each replacement, and after a fork an object more is page faults more
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # it never made a group, or what is left is another user's
            pass

    def _is_alive(self) -> bool:
        """Whether the pidfd, which the kernel cannot give to another, says that it has not ended."""
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)


@functools.cache
def have_pidfd() -> bool:
    """Whether this kernel and this Python have pidfds."""
    fd = _open(os.getpid())
    if fd < 0:
        return False
    os.close(fd)
    return True


def decode(status: int) -> tuple[int | None, int | None, bool]:
    """A wait status as (exit code, signal that ended it, whether it left a core); (None, None, False) for UNKNOWN."""
    if status == UNKNOWN:
        return None, None, False
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status), os.WCOREDUMP(status)
    return os.WEXITSTATUS(status), None, False


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Hold back signals in this block, and let them come after it: one that arrives at a fork is then lost by nobody.

    A child that leaves the block on its own way calls :func:`unblock_signals` once its handlers are set.
    """
    before = block_signals()
    try:
        yield
    finally:
        unblock_signals(before)


def block_signals() -> set[int]:
    """Hold back each signal that can be; gives the mask that was.

    By the C function: the signal module makes enums of the numbers, which costs a newborn 20 page faults.
    """
    mask: set[int] = _signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE)
    return mask


def unblocking_signals() -> Call:
    """The call that brings back the mask of now: made ready before signals are blocked, for a newborn."""
    mask: set[int] = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
    bits = sum(1 << (signum - 1) for signum in mask)
    words = bits.to_bytes(8, sys.byteorder).ljust(_MASK_BYTES, b"\0")
    return partial(process.bare().sigprocmask, int(signal.SIG_SETMASK), words, None)


def unblock_signals(mask: set[int] | frozenset[int] = frozenset()) -> None:
    """Hold back the signals of `mask` only; those that waited arrive now."""
    _signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1  # a Python or a kernel without it, no descriptor left, or a child that somebody else reaped
