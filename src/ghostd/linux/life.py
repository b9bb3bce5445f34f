"""A pipe that tells a child that its parent is gone, without the child looking: its end of file becomes a signal.

PR_SET_PDEATHSIG does the same more directly, but the kernel forgets it when a process changes its user.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

_F_SETSIG = 10  # Linux: which signal O_ASYNC sends instead of SIGIO


def lay(reader: int, signum: int) -> int:
    """In the parent, before a fork: a descriptor of the life pipe for one child, which its end will send ``signum``.

    O_ASYNC belongs to an open file description, which a fork shares; so the pipe is opened anew for each child. The
    parent closes its copy after the fork. -1 where /proc or F_SETSIG is missing. Nobody may ever write to the pipe.
    """
    fd = -1
    try:
        fd = os.open(f"/proc/self/fd/{reader}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(fd, _F_SETSIG, signum)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -1
    return fd


def follow(fd: int) -> None:
    """In the child: be the one that is sent the signal. Whether the parent went before this call, the caller looks.

    A child that leads a process group has it sent to the whole group: what it has started goes with it.
    """
    if fd >= 0:
        own = os.getpid()
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETOWN, -own if os.getpgrp() == own else own)
