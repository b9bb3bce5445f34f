"""A log on a stream that somebody else opened: a terminal, a pipe to a container's runtime, a file object of the user.

Rule: nobody who stops reading can stop a ghost. The stream gets a descriptor of its own that does not block, without
touching the flags of the one it came from, which the starter's shell shares.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
from contextlib import suppress

from ghostd.errors import SystemFault
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ghostd.log.lines import Lines


class StreamSink:
    """Writes records to a stream: by its descriptor where it has one, else by its ``write``."""

    def __init__(self, handle: Any, lines: Lines) -> None:  # noqa: ANN401  a descriptor, or anything with write()
        self._handle = handle
        self._lines = lines
        self._of = _descriptor(handle)
        self._fd = -1
        self._must_ask = False
        self._is_torn = False

    def open(self) -> None:
        """Take the descriptor, when there is one; SystemFault when it is closed."""
        try:
            self._ensure()
        except OSError as error:
            raise SystemFault(f"the log's stream {self._handle!r} cannot be used: {error.strerror}") from error

    def missing(self) -> str:
        """Nothing: it is open already."""
        return ""

    def leave_stderr(self) -> None:
        """Nothing: its descriptor is its own."""

    def put(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> None:
        """Write one record; OSError when it could not be written whole and at once."""
        data = self._lines(level, text, fields, more)
        if self._of is None:
            _hand(self._handle, data)
            return
        self._ensure()
        if self._is_torn:
            data = b"\n" + data  # see FileSink
        written = self._pass(data)
        if written < len(data):
            self._is_torn = self._is_torn or written > 0
            raise BlockingIOError(errno.EAGAIN, "its reader does not read")
        self._is_torn = False

    def reopen(self) -> None:
        """Nothing: who opened the stream moves it."""

    def fileno(self) -> int | None:
        """The descriptor of the stream as it was given, which blocks as its owner wanted; None when it has none."""
        return self._of

    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that must stay open for this log to work."""
        given = () if self._of is None else (self._of,)
        return (*given, self._fd) if self._fd >= 0 else given

    def give_to(self, uid: int, gid: int) -> None:
        """Nothing: it is open already."""

    def close(self) -> None:
        """Give back the own descriptor; the stream itself is its owner's to close."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _pass(self, data: bytes) -> int:
        """Write as much as goes without waiting; how much that was."""
        if not self._must_ask:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                return 0
        written = 0
        while written < len(data) and _can_write(self._fd):
            # A yes is good for so many bytes. Pieces of longer records may mix, on a pipe that is another user's.
            written += os.write(self._fd, data[written : written + select.PIPE_BUF])
        return written

    def _ensure(self) -> None:
        if self._of is not None and self._fd < 0:
            _flush(self._handle)  # what the user has written comes before what the log writes
            self._fd, self._must_ask = _own(self._of)


def can_write(fd: int) -> bool:
    """Whether the descriptor is open and takes at least a short record without waiting."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return _can_write(fd)


def _can_write(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poll.poll(0))


def _descriptor(handle: Any) -> int | None:  # noqa: ANN401
    if isinstance(handle, int):
        return handle
    try:
        fd = handle.fileno()
    except (AttributeError, OSError, ValueError):  # no such method; io.UnsupportedOperation; closed
        return None
    return fd if isinstance(fd, int) and fd >= 0 else None


def _own(fd: int) -> tuple[int, bool]:
    """A descriptor of our own, and whether it must be asked before each write because it blocks."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        # Opening it anew, unlike dup(), makes flags of its own. Another user's pipe or terminal cannot be: it is asked.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            return os.open(f"/proc/self/fd/{fd}", flags), False
        except OSError:
            return os.dup(fd), True
    return os.dup(fd), not stat.S_ISREG(kind)


def _hand(handle: Any, data: bytes) -> None:  # noqa: ANN401
    """Give the record to an object that only has write()."""
    try:
        if isinstance(handle, io.RawIOBase | io.BufferedIOBase):
            handle.write(data)
        else:
            handle.write(data.decode())
            _flush(handle)
    except ValueError as error:  # closed, or of an encoding that lacks a character
        raise OSError(errno.EBADF, str(error)) from error


def _flush(handle: Any) -> None:  # noqa: ANN401
    with suppress(AttributeError, OSError, ValueError):  # has no such method; would not go now; closed
        handle.flush()
