"""The bare manager with a listener: what a good preforking server must do, and plain epoll in each child.

All children wait for the same listener, and whoever comes first has the connection. HUP forks as many again, and lets
the old ones go when these are ready; QUIT asks all to leave. A child that leaves finishes what it has in hand.

    python -c 'from bench.server import main; main()' spirits=4 witness=FOLDER loop=epoll
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

from bench import work
from bench.bare import Bare
from bench.witness import Witness

if TYPE_CHECKING:
    from types import FrameType


class Server(Bare):
    """Forks, waits, replaces, reloads."""

    signals_heard = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)

    def __init__(self, spirits: int, limit: float, job: work.Job) -> None:
        super().__init__(spirits * 2, limit, job)  # slots for both generations
        self.spirits = spirits
        self.half = 0  # of the slots, the one in use
        self.old: set[int] = set()
        self.awaited = 0  # ready_count when the new generation is whole

    def stop(self, signums: bytes) -> None:
        """Begin a reload, if none is on its way; else as the plain one."""
        if signal.SIGTERM in signums or signal.SIGQUIT in signums:
            super().stop(signums)
        elif not self.old:
            self.old = set(self.children)
            self.half = self.spirits - self.half
            self.awaited = self.ready_count + self.spirits
            for seat in range(self.spirits):
                self.spawn(seat + self.half)

    def readied(self, count: int) -> None:
        """Let the old generation go once the new one is whole."""
        super().readied(count)
        if self.old and self.ready_count >= self.awaited:
            for pidfd in self.old:
                signal.pidfd_send_signal(pidfd, signal.SIGQUIT)

    def replace(self, pidfd: int) -> None:
        """Replace a child, unless it was let go."""
        if pidfd in self.old and self.ready_count >= self.awaited:
            self.old.discard(pidfd)
            pid, _ = self.children.pop(pidfd)
            os.waitpid(pid, 0)
            self.epoll.unregister(pidfd)
            os.close(pidfd)
        else:
            self.old.discard(pidfd)
            super().replace(pidfd)


def by_epoll(listener: socket.socket, tick: work.Tick, witness: Witness) -> None:
    """Answer, one at a time."""
    marks, leaving = witness.open_table(), []
    marks[0] = marks[1] = 0
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def leave(_signum: int, _frame: FrameType | None) -> None:
        leaving.append(True)
        os.write(writer, b"\0")

    signal.signal(signal.SIGQUIT, leave)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    epoll.register(reader, select.EPOLLIN)
    tick()
    witness.tell()
    while not leaving:
        epoll.poll()
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        with connection:
            work.answer(connection, marks)


def by_asyncio(listener: socket.socket, tick: work.Tick, witness: Witness) -> None:
    """Answer in the tasks of an event loop, as asyncio accepts."""
    marks = witness.open_table()
    marks[0] = marks[1] = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        marks[0] += 1
        await reader.read(100)
        writer.write(b"%d" % os.getpid())
        await writer.drain()
        marks[1] += 1
        writer.close()

    async def main() -> None:
        leaving = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, leaving.set)
        server = await asyncio.start_server(answer, sock=listener)
        tick()
        witness.tell()
        await leaving.wait()
        server.close()
        while marks[0] > marks[1]:  # noqa: ASYNC110  the table sets no event
            await asyncio.sleep(0.001)

    asyncio.run(main())


def main() -> None:
    """Run by ``key=value`` arguments."""
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    witness = Witness(options["witness"])
    serve = by_asyncio if options["loop"] == "asyncio" else by_epoll
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setblocking(False)
    sys.stdout.write(f"Listening on 127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    Server(int(options["spirits"]), 55.0, lambda tick: serve(listener, tick, witness)).run()
