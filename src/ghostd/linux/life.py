"""A pipe that tells a child that its parent is gone, without the child looking: its end of file becomes a signal.

PR_SET_PDEATHSIG does the same more directly, but the kernel forgets it when a process changes its user.
"""

from __future__ import annotations

import fcntl
import os
from functools import partial

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_F_SETSIG = 10  # Linux: which signal O_ASYNC sends instead of SIGIO


class LifePipe:
    """The pipe as the parent has it. Nobody ever writes to it.

    O_ASYNC belongs to an open file description, which a fork shares; so the pipe is opened anew for each child, and
    each finds its own at the same number, ``end``, which is what it keeps.
    """

    def __init__(self, signum: int) -> None:
        self._signum = signum
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self._path = f"/proc/self/fd/{self._reader}"
        self.end = os.dup(self._reader)

    def lay(self, count: int) -> list[int]:
        """Before forks: a descriptor for each child, for the caller to put at ``end`` before its fork.

        An idle one, that of the pipe itself, where /proc is missing or no more can be open.
        """
        return [self._open() for _ in range(count)]

    def clear(self, laid: Iterable[int]) -> None:
        """After the forks: close what was laid."""
        for fd in laid:
            if fd != self._reader:
                os.close(fd)

    def _open(self) -> int:
        fd = self._reader
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(fd, _F_SETSIG, self._signum)
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        except OSError:
            self.clear((fd,))
            return self._reader
        return fd

    def following(self) -> Callable[[int], object]:
        """What has the signal sent to this process, or to the group of which the negative number is given.

        Made ready before the fork, for a child. Whether the parent went before this call, the caller looks.
        """
        return partial(process.bare().fcntl, self.end, fcntl.F_SETOWN)

    def close(self) -> None:
        """Close all of it: the signal is sent now, unless another has a copy of the writing end."""
        for fd in (self._reader, self._writer, self.end):
            os.close(fd)
