"""The listening sockets of a ghost: opened once, before it detaches and before it gives up its rights, and kept.

All that cannot be had is found out here, while somebody is there to be told, and nothing is left behind then. All
sockets are closed by an exec and do not block: those that share one share its state too, so nobody may change it.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, suppress

from ghostd.errors import DeniedError, ListenError, OptionError, SystemFault, UserError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import listening
from ghostd.record import Mutable
from ghostd.serve import passed
from ghostd.serve.address import Address, Fd, Systemd, Tcp, Unix, parse_all
from ghostd.serve.socketfile import SocketFile, refusal

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Final

    from ghostd.serve.options import ServeOptions

_KIND: Final = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_LOW_PORTS: Final = "ipv4/ip_unprivileged_port_start"
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_NO_SUCH_NAME: Final = "EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY"


class Listener(Mutable):
    """One socket, what was asked for, and the file that it may have."""

    address: Address
    socket: socket.socket
    file: SocketFile | None = None

    @property
    def is_adopted(self) -> bool:
        """Whether somebody else has opened it, and may go on listening after us."""
        return isinstance(self.address, (Fd, Systemd))

    def __str__(self) -> str:
        """Where it listens in truth: with the port that the kernel has chosen."""
        if isinstance(self.address, Tcp) and not self.address.host:
            return f":{self.socket.getsockname()[1]}"
        return named(self.socket)


class Listeners:
    """All of them, in the order of the option. ``close`` removes socket files in the process that owns them only."""

    def __init__(self) -> None:
        self._all: list[Listener] = []
        self._owner = os.getpid()
        self._is_shut = False
        self.warnings: list[str] = []  # for the log, once there is one

    @classmethod
    def open(
        cls, options: ServeOptions, environ: MutableMapping[str, str], owner: tuple[int, int] | None = None
    ) -> Listeners:
        """Open what the options say; ``owner``: the uid and gid that socket files are for, unless they say so.

        Raises UserError or SystemFault, one line that names the address and what to do; nothing is left behind then.
        """
        made = cls()
        with ExitStack() as undone:
            undone.callback(made.close)
            made._open(parse_all(options.texts), options.backlog, environ, owner or (os.geteuid(), os.getegid()))
            undone.pop_all()
        made._warn(options.backlog)
        return made

    # ── what they are ──
    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets, to be accepted from."""
        return [one.socket for one in self._all]

    @property
    def addresses(self) -> list[str]:
        """Where they listen in truth."""
        return [str(one) for one in self._all]

    def descriptors(self) -> set[int]:
        """Those of the sockets: every spirit needs them."""
        return {one.socket.fileno() for one in self._all}

    def private_descriptors(self) -> set[int]:
        """Those that no spirit may have: the locks of the socket files."""
        return {one.file.fileno() for one in self._all if one.file is not None} - {-1}

    def queued(self) -> int:
        """How many connections wait to be accepted."""
        return sum(listening.queued(one.socket) for one in self._all)

    # ── what is done to them ──
    def own(self) -> None:
        """From now on this process owns them: the daemon, which was forked from the one that opened them."""
        self._owner = os.getpid()

    def shut(self) -> None:
        """Let nothing more into the queues, before spirits accept what is in them and leave. Once is enough.

        A socket that somebody else has opened is left alone: what waits there is for whoever listens there next.
        """
        if self._is_shut:
            return
        self._is_shut = True
        for one in self._all:
            if not one.is_adopted:
                with suppress(OSError):  # the queue is then open until the end, as it is with others
                    listening.admit_no_more(one.socket)

    def leave(self) -> None:
        """Close them here; the daemon, which has inherited them, goes on."""
        self._owner = 0
        self.close()

    def close(self) -> list[str]:
        """Close all; where this process owns them also remove the socket files. What the log is to say of it."""
        told = []
        is_owner = os.getpid() == self._owner
        for one in self._all:
            if is_owner and not one.is_adopted and (lost := listening.queued(one.socket)):
                told.append(f"{lost} connections waited for {one} when it was closed: they are reset")
            if one.file is not None and is_owner:
                told.append(one.file.remove())
            elif one.file is not None:
                one.file.close()
            one.socket.close()
        self._all.clear()
        return [text for text in told if text]

    # ── opening ──
    def _open(
        self,
        addresses: list[Address],
        backlog: int,
        environ: MutableMapping[str, str],
        owner: tuple[int, int],
    ) -> None:
        handed = passed.take(environ) if any(isinstance(one, Systemd) for one in addresses) else []
        names = {one.name for one in addresses if isinstance(one, Systemd) and one.name is not None}
        for address in addresses:
            match address:
                case Tcp():
                    self._open_tcp(address, address.backlog or backlog)
                case Unix():
                    self._open_unix(address, address.backlog or backlog, owner)
                case Fd():
                    self._add(address, passed.adopt(address, address.number))
                case Systemd():
                    for one in passed.chosen(address, handed, names):
                        self._add(address, passed.adopt(address, one.fd))

    def _open_tcp(self, address: Tcp, backlog: int) -> None:
        port = address.port
        for family, place in _places(address):
            sock = _made(address, family)
            self._add(address, sock)
            try:
                if family == socket.AF_INET6:
                    both = not address.v6only and address.host in ("", "::")
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((place[0], port, *place[2:]))
                sock.listen(backlog)
            except OSError as error:
                raise _tcp_refusal(address, error) from error
            port = sock.getsockname()[1]  # of a name with several addresses all listen on the same one

    def _open_unix(self, address: Unix, backlog: int, owner: tuple[int, int]) -> None:
        sock = _made(address, socket.AF_UNIX)
        listener = self._add(address, sock)
        path = address.path
        try:
            if address.is_abstract:
                sock.bind(b"\0" + os.fsencode(path[1:]))
            else:
                listener.file = SocketFile(address)
                path = listener.file.path
                listener.file.bind(sock, _owner(address, owner))
            sock.listen(backlog)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ListenError(f"cannot listen on {address}: another process does; stop it") from error
            raise refusal(address, error, path) from error

    def _add(self, address: Address, sock: socket.socket) -> Listener:
        listener = Listener(address, sock)
        self._all.append(listener)
        if sock.family != socket.AF_UNIX:
            # What is accepted has it from its listener: without it an answer in two parts waits 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    def _warn(self, backlog: int) -> None:
        limit = listening.setting("core/somaxconn")
        most = max((getattr(one.address, "backlog", None) or backlog for one in self._all), default=0)
        if limit is not None and most > limit and not all(one.is_adopted for one in self._all):
            self.warnings.append(
                f"backlog is {most}, but net.core.somaxconn allows {limit}: so many connections can wait, and no more"
            )


def named(sock: socket.socket) -> str:
    """The address that a socket has, as it would be written in the option."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes):
            name = "@" + os.fsdecode(name[1:])
        return str(Unix(name))
    return str(Tcp(name[0], name[1]))


def _made(address: Address, family: int) -> socket.socket:
    try:
        return socket.socket(family, _KIND)
    except OSError as error:
        if error.errno in _NO_IPV6:
            raise ListenError(f"cannot listen on {address}: this machine has no such network") from error
        raise SystemFault(f"cannot listen on {address}: {error.strerror}") from error


def _places(address: Tcp) -> list[tuple[int, tuple[object, ...]]]:
    """The addresses of the kernel that a host means; a name has several: it is listened on all of them."""
    if not address.host:
        return [(socket.AF_INET6, ("::", 0)) if _has_ipv6() else (socket.AF_INET, ("0.0.0.0", 0))]
    try:
        found = socket.getaddrinfo(address.host.encode(), address.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        names = [getattr(socket, name, None) for name in _NO_SUCH_NAME]
        kind = OptionError if error.errno in names else ListenError
        raise kind(f"cannot listen on {address}: the name {address.host} has no address ({error.strerror})") from error
    places = {(int(family), tuple(place)): None for family, _, _, _, place in found}
    usable = [one for one in places if one[0] != socket.AF_INET6 or _has_ipv6()]
    if not usable:
        raise ListenError(f"cannot listen on {address}: this machine has no IPv6")
    return usable


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, _KIND) as probe:
            probe.bind(("::", 0))
    except OSError as error:
        if error.errno in _NO_IPV6:
            return False
        raise
    return True


def _tcp_refusal(address: Tcp, error: OSError) -> UserError | SystemFault:
    where = f"cannot listen on {address}"
    match error.errno:
        case errno.EADDRINUSE:
            return ListenError(f"{where}: another process listens there; stop it, or choose another port")
        case errno.EADDRNOTAVAIL:
            return ListenError(f"{where}: this machine does not have that address")
        case errno.EACCES | errno.EPERM:
            least = listening.setting(_LOW_PORTS) or 1024
            return DeniedError(
                f"{where}: ports below {least} take root or CAP_NET_BIND_SERVICE; start it so, or by a .socket unit"
            )
        case _:
            return ListenError(f"{where}: {error.strerror}")


def _owner(address: Unix, ghost: tuple[int, int]) -> tuple[int, int]:
    import grp  # noqa: PLC0415  only where there is a name to look up
    import pwd  # noqa: PLC0415

    uid, gid = ghost
    try:
        if address.user is not None:
            uid = int(address.user) if address.user.isdecimal() else pwd.getpwnam(address.user).pw_uid
        if address.group is not None:
            gid = int(address.group) if address.group.isdecimal() else grp.getgrnam(address.group).gr_gid
    except KeyError as error:
        raise OptionError(f"cannot listen on {address}: {error.args[0]}; choose one that there is") from error
    return uid, gid
