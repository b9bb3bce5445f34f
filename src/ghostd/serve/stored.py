"""Listening sockets that the init system keeps while there is no manager: named for it, and found by the next one.

A manager that was killed takes its spirits with it, but not the sockets, if its unit has a file descriptor store: who
connects meanwhile waits in the queue, and is served by the next manager (sd_pid_notify_with_fds(3)).

Rule: one that comes back is taken only if it is what a new one would be: a stream that listens, at the very place, and
with its file if it has one. All others are given up before anything is bound, for they may have the port.
"""

from __future__ import annotations

import os
import socket

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import listening
from ghostd.serve import opening, passed
from ghostd.serve.address import NAME_MOST, Tcp, Unix
from ghostd.serve.passed import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ghostd.serve.address import Address
    from ghostd.serve.passed import Passed


def is_there(environ: Mapping[str, str]) -> bool:
    """Whether this process was handed something from the store."""
    return OURS in environ.get("LISTEN_FDNAMES", "") and environ.get("LISTEN_PID") == str(os.getpid())


def name_of(address: Address) -> str:
    """What the store calls the sockets of an address; nothing for one that is too long to have a name there."""
    text = "".join(one if " " < one < "\x7f" and one not in ":%" else _coded(one) for one in str(address))
    return OURS + text if len(OURS) + len(text) <= NAME_MOST else ""


class Stored:
    """What came back from the store."""

    def __init__(self, handed: list[Passed]) -> None:
        self._left = [one for one in handed if one.name.startswith(OURS)]
        self._old_names: set[str] = set()
        for one in self._left:
            os.set_inheritable(one.fd, False)

    def of(self, address: Address, *, has_seats: bool = False) -> list[socket.socket]:
        """The sockets of an address; none of one where each seat is to have its own."""
        if self._left and isinstance(address, Tcp) and not has_seats:
            found = [self._tcp(address, family, name[0]) for family, name in opening.places(address)]
        else:
            found = [self._unix(address)] if isinstance(address, Unix) else []
        return [sock for sock in found if sock is not None]

    def give_up(self) -> list[str]:
        """Close those that nobody has taken: the names under which the store is to forget what it has."""
        left, self._left = self._left, []
        for one in left:
            os.close(one.fd)
        return sorted({one.name for one in left} | self._old_names)

    def _tcp(self, address: Tcp, family: int, host: object) -> socket.socket | None:
        """The one that listens on the host, on whatever port where that is 0."""

        def is_it(sock: socket.socket, _name: str) -> bool:
            if sock.family != family or sock.getsockname()[0] != host:
                return False
            if address.port not in (0, sock.getsockname()[1]):
                return False
            return family != socket.AF_INET6 or opening.takes_both(address) != _is_v6only(sock)

        return self._take(name_of(address), is_it)

    def _unix(self, address: Unix) -> socket.socket | None:
        """The one of that path or name, if the path still leads to it.

        A file that was made with another mode or owner is another one: all that is said of it is in its name.
        """

        def is_it(sock: socket.socket, name: str) -> bool:
            if sock.family != socket.AF_UNIX:
                return False
            if address.is_abstract:
                return bool(sock.getsockname() == b"\0" + os.fsencode(address.path[1:]))
            return name == name_of(address) and listening.is_reached_by(sock, os.path.abspath(address.path))

        return self._take(name_of(address), is_it)

    def _take(self, name: str, is_it: Callable[[socket.socket, str], bool]) -> socket.socket | None:
        for one in self._left:
            if passed.fault(one.fd):
                continue
            sock = socket.socket(fileno=one.fd)
            if not listening.is_shut(sock) and is_it(sock, one.name):
                self._left.remove(one)
                if one.name != name:
                    self._old_names.add(one.name)  # it is to have the new one there
                sock.setblocking(False)
                return sock
            sock.detach()
        return None


def _is_v6only(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def _coded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
