"""A socket file that nobody loses to another: replaced only if nobody serves there, removed only by its owner.

A lock file beside it, held for life, says which ghost has the path; a server of another kind is found by knocking.
Nothing that is no socket is ever touched, and what is removed is compared by its inode first: a file that somebody else
has put in its place stays.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import ExitStack, suppress

from ghostd.errors import DeniedError, ListenError, OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import holders, lock
from ghostd.serve.address import PATH_BYTES_MOST, Unix
from ghostd.serve.opening import InUseError, patiently

if TYPE_CHECKING:
    from typing import Final

LOCK_SUFFIX: Final = ".lock"
MODE: Final = 0o660  # whoever may write may connect: the user and the group of the ghost
_NOBODY: Final = (errno.ECONNREFUSED, errno.ENOENT)


class SocketFile:
    """The file of one unix socket, from the lock to the removal."""

    def __init__(self, address: Unix, *, is_served: bool = False) -> None:
        """Take the lock and clear the path; raises what stands in the way, having changed nothing.

        ``is_served``: the file is there and belongs to a socket that this process has been handed.
        """
        self.path = os.path.abspath(address.path)
        self._address = address
        self._inode: tuple[int, int] | None = None
        self._lock = self._take()
        with ExitStack() as undone:
            undone.callback(self.remove)
            if is_served:
                self._inode = _inode(os.stat(self.path, follow_symlinks=False))
            else:
                patiently(self._clear, address, "stop it, or choose another path")
            undone.pop_all()

    def bind(self, sock: socket.socket, owner: tuple[int, int]) -> None:
        """Make the file, with its mode and owner from its first moment on for all but root."""
        mode = MODE if self._address.mode is None else self._address.mode
        before = os.umask(0o777 & ~mode)
        try:
            sock.bind(self.path)
        finally:
            os.umask(before)
        self._inode = _inode(os.stat(self.path, follow_symlinks=False))
        if owner != (os.geteuid(), os.getegid()):
            self._give(owner)

    def remove(self) -> str:
        """Remove the file and the lock: why that was not possible, or nothing. Only by the process that owns them."""
        left = ""
        try:
            if self._inode is not None and _inode(os.stat(self.path, follow_symlinks=False)) == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            left = f"{self.path} cannot be removed: {error.strerror}; the next start replaces it"
        if not left and self._lock >= 0 and lock.is_at(self._lock_path, self._lock):
            with suppress(OSError):  # it is empty, and the next start takes it
                os.unlink(self._lock_path)
        self.close()
        return left

    def close(self) -> None:
        """Forget the file: it stays, with the lock in the hands of whoever else has inherited it."""
        fd, self._lock = self._lock, -1
        if fd >= 0:
            os.close(fd)

    def fileno(self) -> int:
        """The descriptor of the lock, which no spirit may have; -1 when it was given back."""
        return self._lock

    @property
    def _lock_path(self) -> str:
        return self.path + LOCK_SUFFIX

    def _take(self) -> int:
        size = len(os.fsencode(self.path))
        if size > PATH_BYTES_MOST:
            what = f"{self.path} has {size} bytes, at most {PATH_BYTES_MOST} are possible: choose a shorter path"
            raise OptionError(f"option listen: {what}")
        try:
            fd = lock.claim(self._lock_path)
        except OSError as error:
            raise refusal(self._address, error, self.path) from error
        if fd < 0:
            raise ListenError(f"cannot listen on {self._address}: another ghost does; stop that one first")
        return fd

    def _clear(self) -> None:
        """Remove what a server that has ended left behind; ListenError when one still serves there."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise refusal(self._address, error, self.path) from error
        if not stat.S_ISSOCK(found.st_mode):
            raise OptionError(f"cannot listen on {self._address}: there is a file that is no socket; remove it")
        self._knock()
        try:
            if _inode(os.stat(self.path, follow_symlinks=False)) == _inode(found):
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise refusal(self._address, error, self.path) from error

    def _knock(self) -> None:
        """See that nobody serves there, without waiting: a server whose queue is full is one, too."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as knocking:
            code = knocking.connect_ex(self.path)
            who = holders.of_peer(knocking) if code == 0 else ""
        if code in (errno.EACCES, errno.EPERM):
            raise DeniedError(f"cannot listen on {self._address}: another user's socket is there; remove {self.path}")
        if code not in _NOBODY:
            raise InUseError(lambda: who)

    def _give(self, owner: tuple[int, int]) -> None:
        """Give the file to its owner. Whoever may write to the directory could have put another file there."""
        fd = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if _inode(found) != self._inode or found.st_nlink != 1:
                raise ListenError(f"cannot listen on {self._address}: the file was exchanged while it was being made")
            os.chown(f"/proc/self/fd/{fd}", *owner)
        except PermissionError as error:
            what = f"to give it to uid {owner[0]}, gid {owner[1]} takes root, or to be in that group"
            raise DeniedError(f"cannot listen on {self._address}: {what}") from error
        finally:
            os.close(fd)


def refusal(address: object, error: OSError, path: str) -> OptionError | DeniedError | ListenError:
    """What the kernel said about a path, with what to do about it."""
    where, folder = f"cannot listen on {address}", os.path.dirname(path)
    match error.errno:
        case errno.ENOENT:
            return OptionError(f"{where}: there is no directory {folder}; make it, or choose another path")
        case errno.ENOTDIR:
            return OptionError(f"{where}: {folder} is no directory; choose another path")
        case errno.EACCES | errno.EPERM if os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return DeniedError(f"{where}: {error.filename or path} is another user's; have that user remove it")
        case errno.EACCES | errno.EPERM:
            return DeniedError(f"{where}: uid {os.geteuid()} may not write to {folder}; choose a directory of its own")
        case _:
            return ListenError(f"{where}: {error.filename or path}: {error.strerror}")


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
