"""A coroutine in every spirit: an event loop each, which beats by itself.

Run:   python examples/coroutine.py start; echo hello | nc -U coroutine.0.sock      (0 and 1 are the seats)
Seen:  each spirit answers on its socket and logs once a second. Send "block": the loop of that spirit stands still, the
       beats stop with it, and after three seconds it is replaced.
"""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from ghostd import Prefork

PLACE = Path(os.environ.get("SOCKETS", ".")).absolute()


class Echo(Prefork):
    name = "coroutine"
    logfile = "coroutine.log"
    spirits = 2
    heartbeat_interval = 1.0
    heartbeat_timeout = 2.0
    silent_timeout = 0.5

    async def spirit(self) -> None:
        path = PLACE / f"coroutine.{self.seat}.sock"
        path.unlink(missing_ok=True)  # of a spirit that was killed on this seat
        server = await asyncio.start_unix_server(self.answer, path)
        async with server:
            async for _ in self.ticks(every=1.0):  # ends when the spirit is asked to leave
                self.log.info(f"listening on seat {self.seat}")
        path.unlink(missing_ok=True)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            line = await reader.readline()
            if line == b"block\n":
                time.sleep(3600)  # noqa: ASYNC251  the mistake that the heartbeat finds
            writer.write(f"pid {os.getpid()}: ".encode() + line)
            await writer.drain()


if __name__ == "__main__":
    sys.exit(Echo().ctrl(sys.argv[1:]))
