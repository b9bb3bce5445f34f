"""The listeners as a ghost's processes hand them on: the starter opens, the daemon owns, a spirit accepts.

Rule: a ghost that does not listen loads no more than this file.
"""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, MutableMapping

    from ghostd.serve.listeners import Listeners
    from ghostd.serve.options import ServeOptions

    Write = Callable[[str, str], None]  # a level and a line for the log


class Door:
    """The listeners of one ghost, or none."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._listeners: Listeners | None = None
        self.addresses: list[str] = []  # where it listens, or did at last
        self.sockets: list[socket.socket] = []

    def open(self, environ: MutableMapping[str, str], owner: tuple[int, int]) -> None:
        """Open what is to be listened on; raises what went wrong, as Listeners.open does."""
        if self._options.listen:
            from ghostd.serve.listeners import Listeners  # noqa: PLC0415  the rule of this file

            self._listeners = Listeners.open(self._options, environ, owner)
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

    def shut(self) -> None:
        """Let nobody else in: a graceful stop begins."""
        if self._listeners is not None:
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

    def private_descriptors(self) -> set[int]:
        """Those that no spirit may have."""
        return set() if self._listeners is None else self._listeners.private_descriptors()
