"""The ghost: a connection is read, its commands are answered, and it ends between two of them.

Run from the root of the repository: python -m examples.keyval.server start. README.md says what is seen.
"""

import asyncio
import os
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from examples.keyval import store
from examples.keyval.session import Session
from examples.keyval.wire import Failure, Reader, encode
from ghostd import Prefork

PLACE = Path(os.environ.get("STORE", "keyval.db")).absolute()
READ = 65_536  # bytes at a time
PATIENCE = 20.0  # seconds for a word that is due


class KeyVal(Prefork):
    name = "keyval"
    logfile = "keyval.log"
    listen = "127.0.0.1:6380"
    spirits = 2

    def init(self) -> None:
        store.create(PLACE)

    def cleanup(self, _scope: int) -> None:
        store.remove(PLACE)

    @cached_property
    def store(self) -> store.Store:
        """This spirit's, opened when it is asked for the first time."""
        return store.Store(PLACE)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands, session, is_new = Reader(), Session(self.store), True
        while not session.is_over:
            data = await self._more(reader, is_due=is_new or commands.is_amid)
            if not data:
                return
            is_new = False
            writer.write(session.answer(commands.feed(data)))
            if commands.broken:
                writer.write(encode(Failure(f"ERR Protocol error: {commands.broken}")))
                return
            await writer.drain()

    async def _more(self, reader: asyncio.StreamReader, *, is_due: bool) -> bytes | None:
        """What the client says next. Asked to leave, a spirit waits for the first word, and the rest of one, alone."""
        if not is_due:
            return await self.until_stopping(reader.read(READ))
        with suppress(TimeoutError):
            return await asyncio.wait_for(reader.read(READ), PATIENCE)
        return None


if __name__ == "__main__":
    sys.exit(KeyVal().ctrl(sys.argv[1:]))
