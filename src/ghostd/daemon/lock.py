"""The lock file beside a pidfile: who may start a ghost, and who is its manager. The lock decides; texts only inform.

Two locks, because no single kind can do both. **Starting** is an open file description lock: taken first of all,
inherited by the forks that daemonize, so nobody else can start in between, even if the starter is killed. **Being the
manager** is a POSIX lock, which the manager itself takes after its last fork: no fork inherits it, so it lives
exactly as long as the manager, whatever spirits and grandchildren are still there, and the kernel tells its pid,
which nobody can forge. Once it is taken, the first lock is given back, for a child that inherited it would keep it.
flock(2) alone fails on the first count, a POSIX lock alone on the second.

Rule: a POSIX lock is lost when its process closes *any* descriptor of the file. So a file that this process has open
already is never opened again, and the file is removed only by who holds the lock, and taken only while it has its
name.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ghostd.linux import lock


class GhostLock:
    """The lock file at ``path``: nothing is opened or made before it is asked for."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def try_start(self) -> bool:
        """Become the one that may start the ghost; False when somebody else is, or it is running."""
        if self.holder() is not None:
            return False
        if self.is_in_place():  # open since an earlier call: to take the lock again is allowed
            return lock.try_lock(self._fd)
        self.close()
        fd = lock.claim(self.path)
        if fd < 0:
            return False
        if lock.holder(fd) is not None:  # became the manager between the first look and the lock
            os.close(fd)
            return False
        self._fd = fd
        return True

    def try_sign(self) -> bool:
        """Become the manager, for life: called by the process that stays, after try_start in it or in its starter.

        False when another process is the manager; that takes a starter that was killed at the worst moment.
        """
        if self._fd < 0 or not lock.sign(self._fd):
            return False
        if not lock.is_at(self.path, self._fd):  # removed: nobody would find this lock
            self.close()
            return False
        lock.unlock(self._fd)  # whoever starts now sees the manager
        return True

    def holder(self) -> int | None:
        """The pid of the living manager, as the kernel knows it; None when there is none.

        PermissionError when the file may not be read: it is another user's.
        """
        fd, is_ours = self._any()
        if fd < 0:
            return None
        try:
            return lock.holder(fd)
        finally:
            if not is_ours:
                os.close(fd)

    def is_starting(self) -> bool:
        """Whether somebody else is about to start the ghost."""
        fd, is_ours = self._any()
        if fd < 0:
            return False
        try:
            return lock.is_locked(fd)
        finally:
            if not is_ours:
                os.close(fd)

    def exists(self) -> bool:
        """Whether there is such a file; without one, nobody can be told to hold it."""
        return os.path.lexists(self.path)

    def is_in_place(self) -> bool:
        """Whether the path still names the file that this process has open."""
        return self._fd >= 0 and lock.is_at(self.path, self._fd)

    def fileno(self) -> int:
        """The descriptor, or -1."""
        return self._fd

    def unlink(self) -> None:
        """Remove the file; only by who holds one of the locks, and only if it is still the same."""
        if self.is_in_place():
            with suppress(FileNotFoundError):
                os.unlink(self.path)

    def close(self) -> None:
        """Give the lock back, in the process that has it; in a child, only forget it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _any(self) -> tuple[int, bool]:
        """A descriptor of the file to ask by, -1 when there is no file; and whether it was open already."""
        if self.is_in_place():
            return self._fd, True
        found = _open_already(self.path)
        if found >= 0:
            return found, True
        try:
            return lock.open_regular(self.path, os.O_RDONLY), False
        except FileNotFoundError:
            return -1, False


def _open_already(path: str) -> int:
    """A descriptor of this process, of whoever's making, that has the file open; -1 when there is none."""
    try:
        wanted = os.stat(path, follow_symlinks=False)
        names = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return -1
    for name in names:
        with suppress(OSError):  # the one that listed the folder is closed by now
            found = os.fstat(int(name))
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return int(name)
    return -1
