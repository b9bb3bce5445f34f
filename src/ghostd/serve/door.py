"""The listeners as a ghost's processes hand them on: the starter opens, the daemon owns, a spirit accepts.

Rule: a ghost that does not listen loads no more than this file.
"""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, MutableMapping
    from typing import Protocol

    from ghostd.serve.listeners import Listeners
    from ghostd.serve.options import ServeOptions

    Make = Callable[..., Listeners]
    Write = Callable[[str, str], None]  # a level and a line for the log
    Forget = Callable[[list[str]], None]

    class Spirit(Protocol):
        """What a spirit's context has."""

        def before_ready(self, call: Callable[[], None]) -> None:
            """Call this right before it says that it is ready."""

        def when_leaving(self, call: Callable[[], None]) -> None:
            """Call this when it is to leave."""


INFINITY = float("inf")


class Door:
    """The listeners of one ghost, or none."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._make: Make | None = None  # what opens them, once it is loaded
        self._listeners: Listeners | None = None
        self.addresses: list[str] = []  # where it listens, or did at last
        self.sockets: list[socket.socket] = []

    def load(self, environ: Mapping[str, str]) -> None:
        """Load the code that opens, before anything is half done."""
        if self._options.listen or "ghostd=" in environ.get("LISTEN_FDNAMES", ""):  # to be given up, when not wanted
            from ghostd.serve.listeners import Heirs, Listeners  # noqa: PLC0415  the rule of this file

            self._make = lambda environ, forget, *heirs: Listeners.open(self._options, environ, Heirs(*heirs), forget)

    def open(self, environ: MutableMapping[str, str], uid: int, gid: int, seats: int, forget: Forget) -> None:
        """Open what is to be listened on, for a ghost that becomes this user and has so many spirits at most.

        ``forget`` has the init system close what it keeps under these names. Raises what went wrong, as Listeners.open
        does.
        """
        if self._make is not None:
            self._listeners = self._make(environ, forget, uid, gid, seats)
            self.addresses, self.sockets = self._listeners.addresses, self._listeners.sockets

    def own(self) -> None:
        """Take them over, in the daemon."""
        if self._listeners is not None:
            self._listeners.own()

    def tell(self, write: Write) -> None:
        """Tell the log about them."""
        for address in self.addresses:
            write("info", f"Listening on {address}")
        if self._listeners is not None:
            for text in self._listeners.warnings:
                write("warn", text)

    def keepsakes(self) -> list[tuple[str, int]]:
        """What the init system is to keep over a crash: the names and descriptors of the sockets opened here."""
        return [] if self._listeners is None else self._listeners.keepsakes()

    def shut(self, release: Callable[[], None]) -> None:
        """Let nobody else in: a graceful stop begins. What the init system keeps beyond it stays open.

        ``release`` has it close what it would hand to the next ghost: that must not be given shut sockets.
        """
        if self._listeners is not None:
            if not self._listeners.has_store:
                release()
            self._listeners.shut()

    def close(self, write: Write | None = None) -> None:
        """Close them, and remove socket files as their owner; ``write`` is told of what did not go well."""
        listeners, self._listeners = self._listeners, None
        self.sockets = []
        for text in () if listeners is None else listeners.close():
            if write is not None:
                write("warn", text)

    def leave(self) -> None:
        """Close them in the starter, whose daemon has inherited them."""
        listeners, self._listeners = self._listeners, None
        self.sockets = []
        if listeners is not None:
            listeners.leave()

    @property
    def gate(self) -> Listeners | None:
        """What the engine must tell of spirits that come and go, where each seat has a listener of its own."""
        return self._listeners if self._listeners is not None and self._listeners.has_seats else None

    def entering(self, spirit: Spirit) -> Callable[[int], None] | None:
        """What a newborn must call first, with its seat, before it closes what is not its own.

        The listeners of its seat then listen from ``spirit`` being ready until it is to leave.
        """
        gate = self.gate
        if gate is None:
            return None
        spirit.before_ready(gate.begin)
        spirit.when_leaving(gate.withdraw)
        return gate.enter

    def upkeep(self, now: float) -> float:
        """Look after those that admit no more: when to be called again."""
        return INFINITY if self._listeners is None else self._listeners.upkeep(now)

    def private_descriptors(self) -> set[int]:
        """Those that not every spirit may have."""
        return set() if self._listeners is None else self._listeners.private_descriptors()
