"""The board as somebody beside the ghost sees it, by what the kernel tells: nobody is asked, and nobody is disturbed.

The manager holds the board's memory, and each spirit has its own page of it; /proc shows both, to the ghost's user and
to root. Rule: loads next to nothing, and says less rather than fail: what is gone, or not ours to see, is left out.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress

from ghostd.hints import TYPE_CHECKING
from ghostd.linux.page import IN_FLIGHT, PAGE, SERVED, WORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Count = tuple[int, int, int]  # seat, in hand, served

_NAME = "/memfd:board (deleted)"
_AT, _BYTES = IN_FLIGHT * WORD, (SERVED - IN_FLIGHT + 1) * WORD  # the two words side by side
_NOTHING = bytes(_BYTES)


def counts(manager: int, spirits: Iterable[int]) -> dict[int, Count]:
    """Of each spirit that can be seen, by its pid: its seat, what it has in hand, and what it has served."""
    found = {}
    with _memory(manager) as fd:
        if fd is not None:
            inode = os.fstat(fd).st_ino
            for pid in spirits:
                seat = _seat(pid, inode)
                if seat is not None:
                    found[pid] = (seat, *_count(os.pread(fd, _BYTES, seat * PAGE + _AT)))
    return found


def has_counted(manager: int) -> bool:
    """Whether any spirit has ever served anything, or has it in hand."""
    with _memory(manager) as fd:
        if fd is None:
            return False
        board = os.pread(fd, os.fstat(fd).st_size, 0)
        return any(board[at : at + _BYTES] != _NOTHING for at in range(_AT, len(board), PAGE))


@contextmanager
def _memory(manager: int) -> Iterator[int | None]:
    """The board's memory, to be read."""
    fd = None
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        folder = f"/proc/{manager}/fd"
        for name in os.listdir(folder):
            if _link(f"{folder}/{name}") == _NAME:
                fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                break
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def _seat(pid: int, inode: int) -> int | None:
    """Which page of the board the process has."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError), open(f"/proc/{pid}/maps", "rb") as maps:
        for line in maps:
            if line.endswith(b" /memfd:board (deleted)\n"):
                _, access, offset, _, number, *_ = line.split()
                if access.endswith(b"s") and int(number) == inode:
                    return int(offset, 16) // PAGE
    return None


def _count(cell: bytes) -> tuple[int, int]:
    return int.from_bytes(cell[:WORD], sys.byteorder), int.from_bytes(cell[WORD:], sys.byteorder)
