"""A handle on a process that is not our child: to signal it and to see its end, and never another that has its number.

A pidfd stands for the process itself. Where the kernel has none, its start time is compared before each signal, which
leaves a gap of microseconds that nothing can close.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time

from ghostd.errors import DeniedError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import procfs

if TYPE_CHECKING:
    from typing import Final, Self

_LOOK_FIRST: Final = 0.001  # seconds between looks where there is no pidfd: soon at first,
_LOOK_MOST: Final = 0.02  # then less often
_NO_PIDFD: Final = (errno.ENOSYS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.ESRCH, errno.EINVAL)


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


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except AttributeError:
        return -1
    except OSError as error:
        if error.errno in _NO_PIDFD:
            return -1  # it has ended, which its start time tells; or there are no pidfds, or no descriptor left for one
        raise


def _is_readable(fd: int, limit: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(limit * 1000))
