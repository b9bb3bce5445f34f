"""A transport that sends the head of an answer together with the beginning of its body: one write, where it can be.

Servers for asyncio write the two one by one. That is a system call more for each answer, a fifth of what a short one
costs in all, and a segment more for its client. Nothing waits here for longer than the turn of the loop in which it was
written, so an application that sends its head long before its body is heard at once; and the order is always that of
the writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_GO_ON = b"HTTP/1.1 100 "
_JOINED_MOST = 65536  # bytes that are copied to spare a write; more of them cost more than the write


class Turn:
    """What is held back in this turn of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[Corked] = []

    def add(self, corked: Corked) -> None:
        """Send what this one holds when the turn ends, at the latest."""
        if not self._held:
            self._loop.call_soon(self._end)
        self._held.append(corked)

    def _end(self) -> None:
        held, self._held = self._held, []
        for corked in held:
            corked.flush()


class Corked:
    """A transport that holds back the head of an answer, after :meth:`hold`, for what comes next to go with it."""

    def __init__(self, transport: asyncio.Transport, turn: Turn) -> None:
        self.write: Callable[[bytes], None] = transport.write
        self.is_closing = transport.is_closing
        self.head = b""  # of the answer that is under way or was the last
        self._transport = transport
        self._turn = turn
        self._held = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  all else is the transport's
        return getattr(self._transport, name)

    def hold(self) -> None:
        """A request begins: hold back the head of its answer."""
        self.head = b""
        if not self._held:
            self.write = self._keep

    def flush(self) -> None:
        """Send what is held back."""
        self.write = self._transport.write
        if self._held:
            held, self._held = self._held, b""
            self.write(held)

    def writelines(self, pieces: Any) -> None:  # noqa: ANN401  as asyncio has it
        """Write them all, behind what is held back."""
        self.flush()
        self._transport.writelines(pieces)

    def write_eof(self) -> None:
        """Nothing comes behind what is held back."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close, when all is sent."""
        self.flush()
        self._transport.close()

    def _keep(self, head: bytes) -> None:
        if head.startswith(_GO_ON):  # the client waits for it, and the answer comes behind it
            self._transport.write(head)
            return
        self._held = self.head = head
        self.write = self._join
        self._turn.add(self)

    def _join(self, body: bytes) -> None:
        self.write = self._transport.write
        held, self._held = self._held, b""
        if len(body) > _JOINED_MOST:
            self.write(held)
            self.write(body)
        else:
            self.write(b"".join((held, body)))
