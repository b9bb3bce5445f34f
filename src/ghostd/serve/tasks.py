"""Streams answered by ``async def connection(self, reader, writer)``: a task each, in the spirit's event loop.

The loop beats by itself, so a handler that blocks it is found; one that waits harms nobody.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING
from ghostd.serve.acceptor import Acceptor
from ghostd.serve.stream import tell, tell_of_cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from socket import socket

    from ghostd.serve.manners import Manners
    from ghostd.serve.voice import Voice

    Answer = Callable[..., Awaitable[object]]

_LAST_WORDS = 0.5  # of the time between the cut and the manager's SIGKILL, for handlers to end


async def serve(answer: Answer, sockets: Sequence[socket], voice: Voice, manners: Manners) -> None:
    """Answer connections until the spirit is asked to leave."""
    await InTasks(answer, sockets, voice, manners).run()


class InTasks:
    """In tasks of the running loop."""

    def __init__(self, answer: Answer, sockets: Sequence[socket], voice: Voice, manners: Manners) -> None:
        self._answer = answer
        self._voice = voice
        self._manners = manners
        self._most = manners.room
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()  # a task has ended, or the spirit was asked to leave
        self._acceptor = Acceptor(sockets, voice.log)

    async def run(self) -> None:
        """Until the spirit is asked to leave, and what it has in hand is answered."""
        self._voice.when_leaving(self._leave)
        self._acceptor.attach(self._loop, self._begin)
        try:
            self._look()
            while not self._voice.is_leaving:
                await self._news(None)
            await self._finish()
        finally:
            self._acceptor.close()

    def _leave(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: it has left
            self._loop.call_soon_threadsafe(self._change.set)  # called in a signal handler: the loop may be asleep

    def _look(self) -> None:
        """With each beat: take what nobody was woken for."""
        if not self._voice.is_leaving:
            self._acceptor.look()
            self._loop.call_later(self._manners.interval, self._look)

    def _begin(self, sock: socket, address: object) -> None:
        self._voice.took()
        task = self._loop.create_task(self._serve(sock, address))
        self._tasks.add(task)
        task.add_done_callback(self._end)
        if len(self._tasks) >= self._most:
            self._acceptor.pause()

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._voice.gave()
        self._change.set()
        if len(self._tasks) == self._most - 1:
            self._acceptor.resume()

    async def _serve(self, sock: socket, address: object) -> None:
        """Have it answered; whatever comes of that, it is closed then, and the spirit lives on."""
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        try:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, sock)
        except OSError:
            sock.close()  # it has gone already
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        try:
            await self._answer(reader, writer)
            writer.close()
            await writer.wait_closed()  # what was written last is still on its way
        except Exception as error:  # noqa: BLE001  the user's code ends here
            tell(self._voice.log, address, error, is_theirs=_is_theirs(error, reader, writer))
        finally:
            transport.abort()  # does nothing to one that is closed

    async def _finish(self) -> None:
        """Answer what is in hand, and what nobody else would take; in the end, cut it."""
        until = self._loop.time() + self._manners.patience
        for taken in self._acceptor.stop():
            while len(self._tasks) >= self._most and self._loop.time() < until:
                await self._news(until)
            self._begin(*taken)
            if self._loop.time() >= until:
                break
        await self._wait_empty(until)
        if self._tasks:
            tell_of_cut(self._voice.log, len(self._tasks), self._manners.patience)
            for task in self._tasks:
                task.cancel()
            await self._wait_empty(until + (self._manners.graceful_timeout - self._manners.patience) * _LAST_WORDS)

    async def _wait_empty(self, until: float) -> None:
        while self._tasks and self._loop.time() < until:
            await self._news(until)

    async def _news(self, until: float | None) -> None:
        """Wait until a task has ended, or the spirit was asked to leave, or it is so late."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._change.wait()
        self._change.clear()


def _is_theirs(error: Exception, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether this says that the other end has gone."""
    if isinstance(error, asyncio.IncompleteReadError):
        return reader.at_eof()
    return isinstance(error, ConnectionError) and (error is reader.exception() or writer.is_closing())
