"""Who holds a port or a socket, for an error message: as far as /proc shows it to us."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS: Final = "0A"  # the state of a TCP socket in these tables
_SHOWN: Final = 3  # of a pool of a hundred processes


def of_port(port: int) -> str:
    """The processes that listen on a TCP port, as ``pid 812, nginx``; empty when they cannot be found out."""
    inodes = {f"socket:[{inode}]" for table in _TABLES for inode in _listening(table, port)}
    return _told(pid for pid in _pids() if inodes & _open(pid)) if inodes else ""


def of_peer(connected: socket.socket) -> str:
    """The process at the other end of a unix socket: the one that listens, before it has accepted."""
    with suppress(OSError, AttributeError, struct.error):
        pid, _, _ = struct.unpack("iII", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return _told([pid] if pid > 0 else [])
    return ""


def _listening(table: str, port: int) -> list[str]:
    """The inodes of the sockets that listen on this port."""
    found = []
    with suppress(OSError), open(table, encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENS and fields[1].endswith(f":{port:04X}"):
                found.append(fields[9])
    return found


def _pids() -> list[int]:
    with suppress(OSError):
        return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return []


def _open(pid: int) -> set[str]:
    """What a process has open; nothing when it is another user's, or has ended."""
    found = set()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def _told(pids: Iterable[int]) -> str:
    every = list(pids)
    told = [f"pid {pid}, {_name(pid)}" for pid in every[:_SHOWN]]
    if len(every) > _SHOWN:
        told.append(f"and {len(every) - _SHOWN} more")
    return "; ".join(told)


def _name(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return "?"
