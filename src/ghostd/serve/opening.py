"""Opens one address, or says in one line why that cannot be and what to do: who holds it, which right is missing.

Rule: what is in use is tried again for a moment, since the spirits of a ghost that was killed end a moment after it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from ghostd.errors import DeniedError, ListenError, OptionError, SystemFault
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import holders, listening

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeVar

    from ghostd.errors import SystemFault as Fault
    from ghostd.errors import UserError
    from ghostd.serve.address import Tcp, Unix

    T = TypeVar("T")
    Place = tuple[int, Any]  # a family and an address, as the kernel has them

PATIENCE: Final = 1.0  # seconds: spirits without their manager end within milliseconds, on a loaded machine later
LOOK_EVERY: Final = 0.02
_KIND: Final = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_LOW_PORTS: Final = "ipv4/ip_unprivileged_port_start"
_NO_NETWORK: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_NO_SUCH_NAME: Final = ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")


class InUseError(Exception):
    """Somebody listens there, now; ``who`` finds out who does, as far as can be known."""

    def __init__(self, who: Callable[[], str]) -> None:
        super().__init__("in use")
        self.who = who


def patiently(attempt: Callable[[], T], address: object, advice: str) -> T:
    """Try until nobody is in the way; raises ListenError when somebody still is after a moment."""
    until = time.monotonic() + PATIENCE
    is_first = True
    while True:
        try:
            return attempt()
        except InUseError as error:
            is_last = time.monotonic() >= until
            who = error.who() if is_first or is_last else ""  # it costs a look at every process there is
            if who.startswith(f"pid {os.getpid()},"):
                raise OptionError(f"cannot listen on {address}: another address of the list has it too") from None
            if is_last:
                known = f" ({who})" if who else ""
                raise ListenError(f"cannot listen on {address}: another process{known} does; {advice}") from None
        is_first = False
        select.select([], [], [], LOOK_EVERY)


# ── TCP ──
def tcp(address: Tcp, place: Place, backlog: int) -> socket.socket:
    """A socket that listens at a place of the address."""
    return patiently(lambda: _tcp(address, place, backlog=backlog), address, "stop it, or choose another port")


def tcp_beside(address: Tcp, place: Place, owner: int) -> socket.socket:
    """One of several on the same port, all of them this user's; it is bound, and does not listen yet."""
    return patiently(lambda: _tcp(address, place, owner=owner), address, "stop it, or choose another port")


def places(address: Tcp) -> list[Place]:
    """The addresses of the kernel that a host means. Of those of a name, each that this machine has is listened on."""
    if not address.host:
        both, ipv4 = (socket.AF_INET6, ("::", address.port)), (socket.AF_INET, ("0.0.0.0", address.port))
        return [both if is_here(both) else ipv4]
    try:
        found = socket.getaddrinfo(address.host.encode(), address.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        names = [getattr(socket, name, None) for name in _NO_SUCH_NAME]
        kind = OptionError if error.errno in names else ListenError
        raise kind(f"cannot listen on {address}: {address.host} has no address here ({error.strerror})") from error
    every: dict[Place, None] = {(int(family), place): None for family, _, _, _, place in found}
    usable = [place for place in every if is_here(place)]  # localhost may be ::1 where there is no IPv6
    if not usable:
        raise ListenError(f"cannot listen on {address}: this machine does not have that address")
    return usable


def takes_both(address: Tcp) -> bool:
    """Whether its IPv6 socket takes IPv4 as well."""
    return not address.v6only and address.host in ("", "::")


def is_here(place: Place) -> bool:
    """Whether this machine, or its network namespace, has an address, whichever port is free."""
    family, name = place
    try:
        with socket.socket(family, _KIND) as probe:
            probe.bind((name[0], 0, *name[2:]))
    except OSError as error:
        if error.errno in _NO_NETWORK:
            return False
        raise SystemFault(f"cannot listen on {name[0]}: {error.strerror}") from error
    return True


def _tcp(address: Tcp, place: Place, *, backlog: int | None = None, owner: int | None = None) -> socket.socket:
    family, name = place
    sock = made(address, family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a former ghost may still end
        if owner is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if owner != os.geteuid():
                os.fchown(sock.fileno(), owner, -1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not takes_both(address)))
        sock.bind(name)
        # What is accepted has it from its listener: without it an answer in two parts waits 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if backlog is not None:
            sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _tcp_refusal(address, error, name[1]) from error
    return sock


def _tcp_refusal(address: Tcp, error: OSError, port: int) -> UserError | Fault | InUseError:
    where = f"cannot listen on {address}"
    match error.errno:
        case errno.EADDRINUSE:
            return InUseError(lambda: holders.of_port(port))
        case errno.EACCES | errno.EPERM:
            least = listening.setting(_LOW_PORTS) or 1024
            what = f"ports below {least} take root or CAP_NET_BIND_SERVICE"
            return DeniedError(f"{where}: {what}; start it so, by a .socket unit, or choose another port")
        case _:
            return ListenError(f"{where}: {error.strerror}")


# ── both ──
def made(address: Tcp | Unix, family: int) -> socket.socket:
    """A socket of this family, closed by an exec, that does not block."""
    try:
        return socket.socket(family, _KIND)
    except OSError as error:
        if error.errno in _NO_NETWORK:
            raise ListenError(f"cannot listen on {address}: this machine has no such network") from error
        raise SystemFault(f"cannot listen on {address}: {error.strerror}") from error
