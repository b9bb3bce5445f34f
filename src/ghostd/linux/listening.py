"""Kernel calls about sockets that listen: what waits in their queues, and how nothing more gets in. No policy."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_SYSCTL: Final = "/proc/sys/net/"

# struct tcp_info: of a listening socket, tcpi_unacked is the number of connections that wait to be accepted.
_TCP_INFO_UNACKED: Final = 24
_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h
_SO_DETACH_FILTER: Final = 27
# Of the segments for a listening socket, drop those that begin a connection: SYN set and ACK not, in byte 13 of the
# TCP header (RFC 9293). All others pass, so that connections that have begun come about and can be accepted.
_DROP_BEGINNINGS: Final = (
    (0x30, 0, 0, 13),  # load the byte
    (0x54, 0, 0, 0x12),  # of it SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)
_FILTER: Final = b"".join(struct.pack("HBBI", *line) for line in _DROP_BEGINNINGS)
# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_UDIAG_SHOW_VFS: Final = 0x02
_UDIAG_SHOW_RQLEN: Final = 0x10
_UNIX_DIAG_VFS: Final = 1
_UNIX_DIAG_RQLEN: Final = 4
_ANY_STATE: Final = 0xFFFFFFFF
_NO_COOKIE: Final = 0xFFFFFFFF
_DIAG_HEAD: Final = 16 + 16  # nlmsghdr and unix_diag_msg


def is_listening(sock: socket.socket) -> bool:
    """Whether connections can be accepted from it; a socket of datagrams never listens."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def queued(sock: socket.socket) -> int:
    """How many connections the kernel has made and nobody has accepted; at least that, where it does not say."""
    count: int | None = None
    try:
        if sock.family == socket.AF_UNIX:
            (count,) = struct.unpack_from("=I", _asked_of_unix(sock, _UDIAG_SHOW_RQLEN, _UNIX_DIAG_RQLEN))
        elif hasattr(socket, "TCP_INFO"):
            data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_UNACKED + 4)
            (count,) = struct.unpack_from("=I", data, _TCP_INFO_UNACKED)
    except (OSError, struct.error):
        count = None  # shut already, or a kernel that does not tell
    return int(_is_readable(sock)) if count is None else count


def admit_no_more(sock: socket.socket) -> None:
    """Let nothing more into the queue; what is in it, and what is on its way in already, can still be accepted.

    Who comes now is refused at once by a unix socket. By a TCP one it is not answered until the socket is closed, and
    refused after that: its kernel asks again after a second.
    """
    if sock.family == socket.AF_UNIX:
        sock.shutdown(socket.SHUT_RD)
    elif not _attach_filter(sock):
        sock.listen(0)  # the next best: one more at a time


def is_shut(sock: socket.socket) -> bool:
    """Whether nothing more is let into the queue: any process that shares the socket can see that."""
    if sock.family == socket.AF_UNIX:
        poll = select.poll()
        poll.register(sock, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))
    try:  # the kernel answers with the number of the filter's lines, where others have a number of bytes
        return sock.getsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, len(_FILTER)) == _FILTER[: len(_DROP_BEGINNINGS)]
    except OSError:
        return False  # another filter, or another kernel


def admit(sock: socket.socket) -> None:
    """Undo :func:`admit_no_more` for a TCP socket."""
    with suppress(OSError):  # nothing was attached
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def is_reached_by(sock: socket.socket, path: str) -> bool:
    """Whether the path leads to the file that this unix socket has made, and not to another that took its place."""
    try:
        (inode,) = struct.unpack_from("=I", _asked_of_unix(sock, _UDIAG_SHOW_VFS, _UNIX_DIAG_VFS))
        found = os.stat(path, follow_symlinks=False)
    except (OSError, struct.error):
        return False
    return bool(found.st_ino & 0xFFFFFFFF == inode)  # the kernel tells no more bits


def refuse(sock: socket.socket) -> None:
    """Refuse at once whoever comes from now on; what a TCP socket has in its queue is reset."""
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.EINVAL):  # is shut
            raise


def setting(name: str) -> int | None:
    """A number below /proc/sys/net, by its path there; None where there is none."""
    try:
        with open(_SYSCTL + name, encoding="utf-8") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return any(found & select.POLLIN for _, found in poll.poll(0))


def _attach_filter(sock: socket.socket) -> bool:
    import ctypes  # noqa: PLC0415  once in a ghost's life

    kept = ctypes.create_string_buffer(_FILTER, len(_FILTER))
    program = struct.pack("HP", len(_DROP_BEGINNINGS), ctypes.addressof(kept))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False  # a kernel that is not Linux's own
    return True


def _asked_of_unix(sock: socket.socket, show: int, wanted: int) -> bytes:
    """An attribute of a unix socket, as the kernel tells it; empty where it does not."""
    inode = os.fstat(sock.fileno()).st_ino
    body = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _ANY_STATE, inode, show, _NO_COOKIE, _NO_COOKIE)
    head = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as asked:
        asked.sendto(head + body, (0, 0))
        answer = asked.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        return b""
    at = _DIAG_HEAD
    while at + 4 <= len(answer):
        length, name = struct.unpack_from("=HH", answer, at)
        if name == wanted:
            return answer[at + 4 : at + length]
        at += max((length + 3) & ~3, 4)
    return b""
