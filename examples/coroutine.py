"""A coroutine in every spirit: an event loop each, which beats by itself.

Run:   python examples/coroutine.py start; echo hello | nc -U coroutine.PID.sock      (PID: that of a spirit)
Seen:  each spirit answers on its socket and logs once a second. Send "block": the loop of that spirit stands still, its
       beats stop with it, and after three seconds its stack is in the log and another one has taken over.
"""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from ghostd import Exit, Prefork

PLACE = Path(os.environ.get("SOCKETS", ".")).absolute()


def socket_of(pid: int) -> Path:
    return PLACE / f"coroutine.{pid}.sock"


class Echo(Prefork):
    name = "coroutine"
    logfile = "coroutine.log"
    spirits = 2
    heartbeat_interval = 1.0
    heartbeat_timeout = 2.0
    silent_timeout = 0.5

    async def spirit(self) -> None:
        async with await asyncio.start_unix_server(self.answer, socket_of(self.pid)):
            async for _ in self.ticks(every=1.0):  # ends when the spirit is asked to leave
                self.log.info(f"listening on seat {self.seat}")

    def reap(self, pid: int, _status: Exit | None = None) -> None:  # in the manager, however the spirit has ended
        socket_of(pid).unlink(missing_ok=True)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            line = await reader.readline()
            if line == b"block\n":
                time.sleep(3600)  # noqa: ASYNC251  the mistake that the heartbeat finds
            writer.write(f"pid {os.getpid()}: ".encode() + line)
            await writer.drain()


if __name__ == "__main__":
    sys.exit(Echo().ctrl(sys.argv[1:]))
