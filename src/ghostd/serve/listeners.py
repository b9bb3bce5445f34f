"""The listening sockets of a ghost: opened once, before it detaches and before it gives up its rights, and kept.

All that cannot be had is found out here, while somebody is there to be told, and nothing is left behind then. All
sockets are closed by an exec and do not block: those that share one share its state too, so nobody may change it.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, suppress

from ghostd.errors import ListenError, OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import identity, listening
from ghostd.record import Frozen, Mutable
from ghostd.serve import opening, passed
from ghostd.serve.address import Address, Fd, Systemd, Tcp, Unix, parse_all
from ghostd.serve.seats import MIGRATION, Seats
from ghostd.serve.socketfile import SocketFile, refusal
from ghostd.serve.stored import Stored, is_there, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Final

    from ghostd.serve.options import ServeOptions

SETTLE: Final = 0.3  # seconds: a round trip to the other side of the earth, so that a handshake on its way comes about
_ALL: Final = -1  # no seat, but the whole ghost


class Heirs(Frozen):
    """Whom the listeners are for: the user and group that the ghost becomes, and how many seats there will be."""

    uid: int
    gid: int
    seats: int = 1


class Listener(Mutable):
    """What was asked for, the socket, the file that it may have, and the other sockets where each seat has its own."""

    address: Address
    sock: socket.socket
    file: SocketFile | None = None
    seats: Seats | None = None
    is_kept: bool = False  # the init system keeps a copy of it, which the next ghost is handed

    @property
    def outlives_us(self) -> bool:
        """Whether it may go on listening after us: then its queue, and its file, are for whoever listens next."""
        return self.is_kept or isinstance(self.address, (Fd, Systemd))

    def every_socket(self) -> list[socket.socket]:
        """The socket, or in the manager those of all seats."""
        return [self.sock] if self.seats is None else self.seats.sockets

    def close(self) -> None:
        """Close them here."""
        if self.seats is None:
            self.sock.close()
        else:
            self.seats.close()

    def __str__(self) -> str:
        """Where it listens in truth: with the port that the kernel has chosen."""
        if isinstance(self.address, Tcp) and not self.address.host:
            return f":{self.sock.getsockname()[1]}"
        return named(self.sock)


class Listeners:
    """All of them, in the order of the option. ``close`` removes socket files in the process that owns them only."""

    def __init__(self, heirs: Heirs, *, has_store: bool = False) -> None:
        self._heirs = heirs
        self.has_store = has_store  # the init system says that it keeps sockets beyond a stop
        self._all: list[Listener] = []
        self._owner = os.getpid()
        self._is_shut = False
        self._settling: dict[int, float] = {}  # seats whose spirit leaves, or _ALL: when to look at the queue
        self.warnings: list[str] = []  # for the log, once there is one

    @classmethod
    def open(
        cls,
        options: ServeOptions,
        environ: MutableMapping[str, str],
        heirs: Heirs,
        forget: Callable[[list[str]], None] = lambda _names: None,
    ) -> Listeners:
        """Open what the options say.

        ``forget`` has the init system close what it keeps under these names, before anything is bound. Raises UserError
        or SystemFault, one line that names the address and what to do; nothing is left behind then.
        """
        made = cls(heirs, has_store=passed.has_store(environ))
        with ExitStack() as undone:
            undone.callback(made.close)
            made._open(parse_all(options.texts), options, environ, forget)
            undone.pop_all()
        made._warn(options)
        return made

    # ── what they are ──
    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets, to be accepted from."""
        return [one.sock for one in self._all]

    @property
    def addresses(self) -> list[str]:
        """Where they listen in truth."""
        return [str(one) for one in self._all]

    @property
    def has_seats(self) -> bool:
        """Whether each seat has a listener of its own, of one address at least."""
        return any(True for _ in self._seats())

    def private_descriptors(self) -> set[int]:
        """Those that no spirit may have: the locks of the socket files, and the sockets of single seats."""
        locks = {one.file.fileno() for one in self._all if one.file is not None} - {-1}
        return locks | {sock.fileno() for seats in self._seats() for sock in seats.sockets}

    def queued(self) -> int:
        """How many connections wait to be accepted."""
        return sum(listening.queued(sock) for one in self._all for sock in one.every_socket())

    def keepsakes(self) -> list[tuple[str, int]]:
        """Those that the init system is to keep: the name that each has there, and its descriptor."""
        found = []
        for one in self._all:
            if isinstance(one.address, (Tcp, Unix)) and one.seats is None and (name := name_of(one.address)):
                one.is_kept = self.has_store
                found.append((name, one.sock.fileno()))
        return found

    # ── what becomes of them ──
    def own(self) -> None:
        """From now on this process owns them: the daemon, which was forked from the one that opened them."""
        self._owner = os.getpid()

    def leave(self) -> None:
        """Close them here; the daemon, which has inherited them, goes on."""
        self._owner = 0
        self.close()

    def shut(self) -> None:
        """Let nothing more into the queues, before spirits accept what is in them and leave. Once is enough.

        A socket that outlives this ghost is left alone: what waits there is for whoever listens there next.
        """
        if self._is_shut:
            return
        self._is_shut = True
        for one in self._all:
            for sock in () if one.outlives_us else one.every_socket():
                with suppress(OSError):  # the queue is then open until the end, as it is with others
                    listening.admit_no_more(sock)
        self._settling = {_ALL: -1.0}

    def close(self) -> list[str]:
        """Close all; where this process owns them also remove the socket files. What the log is to say of it."""
        told = []
        is_owner = os.getpid() == self._owner
        for one in self._all:
            lost = sum(listening.queued(sock) for sock in one.every_socket()) if is_owner and not one.outlives_us else 0
            told.append(_told_of(one, lost))
            if one.file is not None and is_owner and not one.outlives_us:
                told.append(one.file.remove())
            elif one.file is not None:
                one.file.close()
            one.close()
        self._all.clear()
        return [text for text in told if text]

    # ── the life of spirits ──
    def prepare(self, seat: int) -> None:
        """A spirit is to be made for this seat. OSError or an error of ours when there is no socket for it."""
        self._settling.pop(seat, None)
        for seats in self._seats():
            seats.prepare(seat)

    def part(self, seat: int) -> None:
        """The spirit on this seat is to leave."""
        if self._is_shut:
            return
        for seats in self._seats():
            with suppress(OSError):
                seats.part(seat)
            self._settling[seat] = -1.0

    def vacate(self, seat: int) -> list[str]:
        """Nobody has this seat any more. What the log is to say of it."""
        self._settling.pop(seat, None)
        return [text for one in self._all if one.seats and (text := _told_of(one, one.seats.vacate(seat)))]

    def upkeep(self, now: float) -> float:
        """Look after those that admit no more: when to be called again."""
        for what, due in list(self._settling.items()):
            if due < 0.0:
                self._settling[what] = now + SETTLE
            elif due <= now:
                self._settling[what] = now + SETTLE
                if self._has_settled(what):
                    del self._settling[what]
        return min(self._settling.values(), default=float("inf"))

    def enter(self, seat: int) -> None:
        """In a newborn: take the sockets of its seat."""
        for seats in self._seats():
            seats.enter(seat)

    def begin(self) -> None:
        """In a spirit that is ready: what did not listen does so now."""
        for seats in self._seats():
            seats.begin()

    def withdraw(self) -> None:
        """In a spirit that leaves, perhaps by its own wish: its own sockets admit no more."""
        for seats in self._seats():
            with suppress(OSError):
                seats.withdraw()

    def _has_settled(self, what: int) -> bool:
        """Refuse whoever comes from now on, where all that was queued is taken."""
        if what != _ALL:
            settled = [seats.settle(what) for seats in self._seats()]
            return all(settled)
        ours = [sock for one in self._all if not one.outlives_us for sock in one.every_socket()]
        waiting = [sock for sock in ours if listening.queued(sock)]
        for sock in ours:
            if sock not in waiting:
                listening.refuse(sock)
        return not waiting

    # ── opening ──
    def _open(
        self,
        addresses: list[Address],
        options: ServeOptions,
        environ: MutableMapping[str, str],
        forget: Callable[[list[str]], None],
    ) -> None:
        wanted = [one for one in addresses if isinstance(one, Systemd)]
        names = {one.name for one in wanted if one.name is not None}
        handed = passed.take(environ) if wanted or is_there(environ) else []
        stored = Stored(handed)
        kept = [stored.of(address, has_seats=options.reuse_port) for address in addresses]
        if unwanted := stored.give_up():
            forget(unwanted)
        for address, socks in zip(addresses, kept, strict=True):
            match address:
                case Tcp():
                    self._open_tcp(address, address.backlog or options.backlog, socks, own=options.reuse_port)
                case Unix():
                    self._open_unix(address, address.backlog or options.backlog, socks)
                case Fd():
                    self._all.append(Listener(address, passed.adopt(address, address.number)))
                case Systemd():
                    for one in passed.chosen(address, handed, names):
                        self._all.append(Listener(address, passed.adopt(address, one.fd)))

    def _open_tcp(self, address: Tcp, backlog: int, kept: list[socket.socket], *, own: bool) -> None:
        for sock in kept:
            sock.listen(backlog)
            self._all.append(Listener(address, sock))
        port = kept[0].getsockname()[1] if kept else address.port
        for family, name in opening.places(address):
            if any((sock.family, sock.getsockname()[0]) == (family, name[0]) for sock in kept):
                continue
            place = (family, (name[0], port, *name[2:]))  # all addresses of a name have the same port
            if own:
                seats = self._seats_of(address, place, backlog)
                self._all.append(Listener(address, seats.sock, seats=seats))
            else:
                self._all.append(Listener(address, opening.tcp(address, place, backlog)))
            port = self._all[-1].sock.getsockname()[1]

    def _seats_of(self, address: Tcp, place: opening.Place, backlog: int) -> Seats:
        # The first one only finds the port out: a socket that did not name its port loses it when it listens no longer.
        with opening.tcp_beside(address, place, self._heirs.uid) as first:
            bound = (place[0], first.getsockname())
            return Seats(lambda: opening.tcp_beside(address, bound, self._heirs.uid), self._heirs.seats, backlog)

    def _open_unix(self, address: Unix, backlog: int, kept: list[socket.socket]) -> None:
        listener = Listener(address, kept[0] if kept else opening.made(address, socket.AF_UNIX))
        self._all.append(listener)
        path = address.path
        try:
            if not address.is_abstract:
                listener.file = SocketFile(address, is_served=bool(kept))
                path = listener.file.path
            if not kept and listener.file is None:
                listener.sock.bind(b"\0" + os.fsencode(path[1:]))
            elif not kept and listener.file is not None:
                listener.file.bind(listener.sock, _owner(address, self._heirs))
            listener.sock.listen(backlog)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ListenError(f"cannot listen on {address}: another process does; stop it") from error
            raise refusal(address, error, path) from error

    def _warn(self, options: ServeOptions) -> None:
        limit = listening.setting("core/somaxconn")
        ours = [one.address for one in self._all if isinstance(one.address, (Tcp, Unix))]
        most = max((one.backlog or options.backlog for one in ours), default=0)
        if limit is not None and most > limit:
            self.warnings.append(f"backlog is {most}, but net.core.somaxconn lets {limit} connections wait; raise it")
        if self.has_seats and listening.setting(MIGRATION) != 1:
            self.warnings.append(
                "reuse_port without net.ipv4.tcp_migrate_req=1: while a spirit leaves, some who connect wait for a "
                "second; what waits for one that is killed and not replaced is reset"
            )

    def _seats(self) -> Iterator[Seats]:
        return (one.seats for one in self._all if one.seats is not None)


def named(sock: socket.socket) -> str:
    """The address that a socket has, as it would be written in the option."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes):
            name = "@" + os.fsdecode(name[1:])
        return str(Unix(name))
    return str(Tcp(name[0], name[1]))


def _told_of(one: Listener, lost: int) -> str:
    what = "1 connection that waits is" if lost == 1 else f"{lost} connections that wait are"
    return f"Closing {one}: {what} reset" if lost else ""


def _owner(address: Unix, ghost: Heirs) -> tuple[int, int]:
    try:
        uid = ghost.uid if address.user is None else identity.uid_of(address.user)
        gid = ghost.gid if address.group is None else identity.gid_of(address.group)
    except (LookupError, ValueError) as error:
        raise OptionError(f"cannot listen on {address}: {error.args[0]}; choose one that there is") from error
    return uid, gid
