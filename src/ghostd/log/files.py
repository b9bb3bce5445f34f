"""A log file: appended to by many processes at once, and moved away by others at any time.

Rule: one ``write`` to a descriptor in append mode is one record, so records of several processes never mix. Every
process looks once a second whether the path still names its file; when it does not, it opens the path anew under the
same descriptor number, so that a thread in the middle of a record writes to the old file or the new one and never to
a stranger. When that fails, the old file goes on: a record in a file that was moved away is better than none.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from ghostd.errors import DeniedError, GhostdError, OptionError, SystemFault
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from ghostd.log.lines import Lines

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE: Final = 0o640  # a log may tell secrets to the group that reads logs, not to everybody
_UNFIT: Final = {
    errno.EISDIR: "it is a directory: give the path of a file in it",
    errno.ENXIO: "it is no regular file but a socket, or a fifo that nobody reads: give the path of a file",
}
_LOOK_EVERY: Final = 1.0  # seconds; a look is one stat(2), and a rotation waits a second without harm


class FileSink:
    """Appends records to the file at ``path``; opens it at the first record, or when told to."""

    def __init__(self, path: str, lines: Lines) -> None:
        self.path = os.path.abspath(path)
        self._lines = lines
        self._fd = -1
        self._identity = (0, 0)
        self._look_at = 0.0
        self._is_torn = False
        self._is_stuck = False

    def open(self) -> None:
        """Open the file now; DeniedError, OptionError or SystemFault with what to do when it cannot be."""
        try:
            self._ensure()
        except OSError as error:
            raise _told(self.path, error) from error

    def missing(self) -> str:
        """Nothing: a file that cannot be opened is an error of open."""
        return ""

    def leave_stderr(self) -> None:
        """Nothing: it has never used it."""

    def put(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> None:
        """Write one record; OSError when it could not be written whole."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look(now)
        self._append(self._lines(level, text, fields, more))

    def reopen(self) -> None:
        """Open the path anew, after a rotation; the old file goes on when that fails, and a record in it says so."""
        if self._fd < 0:
            self._ensure()
            return
        try:
            fresh, identity = _opened(self.path)
        except OSError as error:
            if not self._is_stuck:
                self._is_stuck = True
                told = f"log file {self.path} cannot be opened anew ({error.strerror}): going on with the old one"
                self._append(self._lines("warn", told, {}))
            return
        self._take(fresh, identity)

    def fileno(self) -> int:
        """The file's descriptor, opened when it was not; stays the same when the file is opened anew."""
        self._ensure()
        return self._fd

    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that must stay open for this log to work."""
        return (self._fd,) if self._fd >= 0 else ()

    def give_to(self, uid: int, gid: int) -> None:
        """Make the file belong to the user that this process is about to become, who may have to open it anew."""
        self._ensure()
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.fchown(self._fd, uid, gid)

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        fd, self._fd = self._fd, -1
        self._look_at = 0.0
        if fd >= 0:
            os.close(fd)

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._ensure()  # the last look found nothing, or another thread is about to open it
        if self._is_torn:
            data = b"\n" + data  # the end of a record that did not fit must not become the beginning of this one
        written = os.write(self._fd, data)
        if written < len(data):
            self._is_torn = self._is_torn or written > 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_torn = False

    def _ensure(self) -> None:
        if self._fd >= 0:
            return
        fd, identity = _opened(self.path)
        if self._fd >= 0:  # another thread was quicker
            os.close(fd)
            return
        self._fd, self._identity = fd, identity

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_EVERY
        if self._fd < 0:
            self._ensure()
            return
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            self.reopen()
            return
        except OSError:
            return  # a directory that may not be searched any more says nothing about the file
        if (found.st_dev, found.st_ino) != self._identity:
            self.reopen()

    def _take(self, fresh: int, identity: tuple[int, int]) -> None:
        """Put the fresh file under the numbers of the old one; stdout and stderr are among them if they were it."""
        old = self._identity
        os.dup2(fresh, self._fd, inheritable=False)
        os.close(fresh)
        self._identity, self._is_torn, self._is_stuck = identity, False, False
        for standard in (1, 2):
            if standard != self._fd and _identity_of(standard) == old:
                os.dup2(self._fd, standard)


def _opened(path: str) -> tuple[int, tuple[int, int]]:
    """A descriptor of the file, which is a regular one with one name, or a device; and its identity."""
    fd = os.open(path, _FLAGS, _MODE)
    try:
        return fd, _checked(path, os.fstat(fd))
    except OSError:
        os.close(fd)
        raise


def _checked(path: str, found: os.stat_result) -> tuple[int, int]:
    if not _is_fit(found):
        raise OSError(errno.EINVAL, _unfit(found), path)
    return found.st_dev, found.st_ino


def _is_fit(found: os.stat_result) -> bool:
    # A device is the doing of root. A second name may be a trap: whoever made it in a directory of theirs, to a file of
    # ours, has us write to the first.
    return stat.S_ISCHR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink <= 1)


def _unfit(found: os.stat_result) -> str:
    if stat.S_ISREG(found.st_mode):
        return f"it has {found.st_nlink} names (hard links); a log file has one: remove the others"
    return "it is no regular file: give the path of one, or of a device"


def _identity_of(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _told(path: str, error: OSError) -> GhostdError:
    """The same error as one that says who must act."""
    if error.errno == errno.ELOOP:
        return DeniedError(f"log file {path} is a symbolic link: give the path of the file itself")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeniedError(
            f"log file {path} cannot be opened ({error.strerror}) by uid {os.geteuid()}: give it the right to"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return OptionError(f"option logfile: {path!r} is not allowed; its directory does not exist: make it")
    if error.errno in (errno.EISDIR, errno.ENXIO, errno.EINVAL):
        why = _UNFIT.get(error.errno) or error.strerror
        return OptionError(f"option logfile: {path!r} is not allowed; {why}")
    return SystemFault(f"log file {path} cannot be opened: {error.strerror}")
