"""What stands in a pidfile or ready file: read without being tricked, looked at before it is replaced, and written.

Rule 1: the pidfile is written whole or not at all: a new one, synced, renamed over the old.

Rule 2: what lies in its place and is not a regular file of our own that is empty or has a pid in it is an error, and is
not touched.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ghostd.errors import DeniedError, GhostdError, OptionError, SystemFault
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import lock, procfs

if TYPE_CHECKING:
    from typing import Final

_MODE: Final = 0o644  # everybody may know the pid
_LONGEST: Final = 200  # bytes; ours has about 60


def inspect(path: str, kind: str = "pidfile") -> None:
    """Raise for anything at the path that we must not replace."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise told(path, error, kind) from error
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        what = "has other names (hard links)" if stat.S_ISREG(found.st_mode) else "is no regular file"
        raise DeniedError(f"{kind} {path} {what}: remove it, or choose another path")
    if found.st_uid != os.geteuid():
        whose = f"belongs to uid {found.st_uid}, not to uid {os.geteuid()}"
        raise DeniedError(f"{kind} {path} {whose}: remove it if no ghost of that user runs, or choose another")
    if not _may_be_replaced(content(path)):
        raise DeniedError(
            f"{kind} {path} holds something else than a pid, and is not replaced: remove it if nobody needs it, or "
            "choose another path"
        )


def content(path: str) -> bytes:
    """The beginning of the file; nothing when there is none."""
    try:
        fd = lock.open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise told(path, error) from error
    try:
        return os.read(fd, _LONGEST)
    except OSError as error:
        raise told(path, error) from error
    finally:
        os.close(fd)


def parsed(data: bytes) -> tuple[int, int, str] | None:
    """Pid, start time in ticks, boot: what the text says; of a file that another program wrote, the first alone."""
    pid, ticks, boot_id = [*(line.strip() for line in data.decode("ascii", "replace").split("\n")), "", ""][:3]
    if not pid.isdecimal() or not 0 < int(pid) < 2**31:
        return None
    return int(pid), int(ticks) if ticks.isdecimal() else 0, boot_id


def text(pid: int) -> bytes:
    """What names one process for ever."""
    return f"{pid}\n{procfs.start_ticks(pid) or 0}\n{procfs.boot_id()}\n".encode()


def write(path: str, pid: int) -> int:
    """Write a new file, see it on the disk, and put it in the place of the old one; its descriptor."""
    fresh = f"{path}.new"  # one name is enough: only the holder of the lock writes
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # of a ghost that was killed while it wrote
    fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        data = text(pid)
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)  # a full disk may say so only now
        os.rename(fresh, path)
    except OSError:
        os.close(fd)
        with suppress(OSError):
            os.unlink(fresh)
        raise
    return fd


def told(path: str, error: OSError, kind: str = "pidfile") -> GhostdError:
    """The same error as one that says who must act."""
    why = error.strerror or str(error)
    if isinstance(error, lock.NotRegularError):
        return DeniedError(f"{path}: {why}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        folder = os.path.dirname(path)
        return OptionError(
            f"option {kind.replace(' ', '_')}: the directory {folder} does not exist: make it, or choose another"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EISDIR):
        return DeniedError(
            f"{path} cannot be used by uid {os.geteuid()} ({why}): give it the right, or choose another path"
        )
    return SystemFault(f"{path} cannot be used: {why}")


def _may_be_replaced(data: bytes) -> bool:
    """Whether it is what pidfiles hold: nothing, or a number first, be it one that no process can have."""
    first = data.split()[:1]
    return not data or (bool(first) and first[0].lstrip(b"-").isdigit())
