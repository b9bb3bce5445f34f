"""A file that one process alone can hold: opened without being tricked, locked for life, its holder known for sure.

Two locks on two bytes of it, since no single kind has all that is needed:

- Byte 0 **decides**. It is an open file description lock: a daemonizing fork inherits it, threads share it, and it ends
  when the last descriptor does, by SIGKILL too. A child that must not hold it closes the descriptor.
- Byte 1 **names**. It is a POSIX lock, which no fork inherits: the kernel tells everybody the pid that took it, which
  nobody can forge. It is lost when its process closes *any* descriptor of the file: the holder reads by the one it has.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

_DECIDES, _NAMES = 0, 1
_TRIES = 100  # each is lost to somebody who removed the file that moment; a hundred in a row are a fault
_FLOCK = "hhqqi0q"  # struct flock with 64-bit offsets: type, whence, start, length, pid; padded as C does

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(OSError):
    """What is at the path is not a regular file with that one name; it was not touched."""


def open_regular(path: str | os.PathLike[str], flags: int, mode: int = 0o644) -> int:
    """Open a regular file that has no other name, and nothing else: no link is followed, no fifo waited for.

    NotRegularError for anything else, FileNotFoundError when it was removed meanwhile (try again), OSError as of open.
    """
    assert not flags & os.O_TRUNC, "it would be emptied before it is known to be the right file"
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            _refuse(path, os.lstat(path))
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            _refuse(path, found)
        if found.st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "it was removed while it was being opened", os.fspath(path))
    except OSError:
        os.close(fd)
        raise
    return fd


def claim(path: str | os.PathLike[str]) -> int:
    """Make the file if need be, and take its lock: the descriptor; -1 when another has it. OSError as of open.

    It is its owner's alone: whoever could read it could take a shared lock, and so keep the owner from it. The file has
    its name still when the lock is taken, so that whoever comes next finds the same one.
    """
    for _ in range(_TRIES):
        try:
            fd = open_regular(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            if os.path.isdir(os.path.dirname(path) or "."):
                continue  # removed as it was opened
            raise
        try:
            is_ours = try_lock(fd)
            if is_ours and is_at(path, fd):
                return fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)
        if not is_ours:
            return -1
    raise OSError(errno.EAGAIN, f"it was removed {_TRIES} times while it was being taken", os.fspath(path))


def is_at(path: str | os.PathLike[str], fd: int) -> bool:
    """Whether the path names the very file that is open as fd."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    own = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def try_lock(fd: int) -> bool:
    """Take the lock that decides, for this open file and all that inherit it; False when another has it.

    The file must be open for writing. OSError when its file system has no locks.
    """
    return _set(fd, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, _DECIDES)


def sign(fd: int) -> bool:
    """Let the kernel name this process as the holder; to be called by the process that stays, after its last fork.

    False when another process has signed: the starter that handed the lock over, until it has ended or closed the file.
    """
    return _set(fd, fcntl.F_SETLK, fcntl.F_WRLCK, _NAMES)


def unlock(fd: int) -> None:
    """Give the lock that decides back at once, whoever else has inherited the open file. A signature stays."""
    _set(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _DECIDES)


def unsign(fd: int) -> None:
    """Take this process's signature back."""
    _set(fd, fcntl.F_SETLK, fcntl.F_UNLCK, _NAMES)


def is_locked(fd: int) -> bool:
    """Whether another open file has the lock that decides. An fd that holds it itself, or inherited it, says no."""
    return _get(fd, _DECIDES)[0] == fcntl.F_WRLCK


def holder(fd: int) -> int | None:
    """The pid of the process that signed, this one too; None when none did, or when it is in another PID namespace."""
    kind, pid = _get(fd, _NAMES)
    return pid if kind == fcntl.F_WRLCK and pid > 0 else None


def _refuse(path: str | os.PathLike[str], found: os.stat_result) -> None:
    kind = next(
        (name for test, name in _KINDS if test(found.st_mode)), f"a file with {found.st_nlink} names (hard links)"
    )
    then = "give the path of a file in it" if stat.S_ISDIR(found.st_mode) else "remove it, or choose another path"
    what = f"it is {kind}, not a regular file of its own: {then}"
    raise NotRegularError(errno.EINVAL, what, os.fspath(path))


def _set(fd: int, command: int, kind: int, byte: int) -> bool:
    try:
        fcntl.fcntl(fd, command, struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):  # POSIX allows either to say "another has it"
        return False
    return True


def _get(fd: int, byte: int) -> tuple[int, int]:
    # Asked as an open file, the kernel tells of this process's own POSIX lock too.
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return kind, pid
