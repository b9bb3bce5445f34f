"""A pipe that tells a child that its parent is gone, without the child looking: its end of file becomes a signal.

PR_SET_PDEATHSIG does the same more directly, but the kernel forgets it when a process changes its user.
"""

import fcntl
import os
from contextlib import suppress

_F_SETSIG = 10  # Linux: which signal O_ASYNC sends instead of SIGIO


def follow(reader: int, signum: int) -> None:
    """Have the kernel send ``signum`` to this process when the last writer of the pipe is gone. Nobody may write to it.

    O_ASYNC belongs to an open file description, which a fork shares; so the pipe is opened anew for this process alone,
    in the place of ``reader``. Where /proc or F_SETSIG is missing, nothing happens.
    """
    with suppress(OSError):
        own = os.open(f"/proc/self/fd/{reader}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(own, reader, inheritable=False)
        os.close(own)
        fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(reader, _F_SETSIG, signum)
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        with suppress(BlockingIOError):
            if os.read(reader, 1) == b"":
                os.kill(os.getpid(), signum)  # the writer went before we asked to be told
