"""Ghosts that answer lines, in each of the ways that there are, for the tests of streams."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.live.traffic import addresses_of

if TYPE_CHECKING:
    from tests.live.harness import Stage, Subject

Dial = Callable[[str], socket.socket]  # connects; closed when the test ends, at the latest

# Answers each line with the pid and the line; the line "hang" never. "slow N" takes N seconds.
LINES: Final = """\
class Subject(Prefork):
    def connection(self, sock, address):
        with sock.makefile("rb") as lines:
            for line in lines:
                note("line")
                if line.startswith(b"slow"):
                    time.sleep(float(line.split()[1]))
                if line == b"hang\\n":
                    hang_here()
                sock.sendall(b"%d " % os.getpid() + line)

def hang_here():
    while True:
        time.sleep(0.1)
"""
TASKS: Final = """\
import asyncio

class Subject(Prefork):
    async def connection(self, reader, writer):
        while line := await reader.readline():
            note("line")
            if line.startswith(b"slow"):
                await asyncio.sleep(float(line.split()[1]))
            if line == b"hang\\n":
                hang_here()
            writer.write(b"%d " % os.getpid() + line)
            await writer.drain()

def hang_here():
    while True:
        time.sleep(0.1)
"""
KINDS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "one by one": (LINES, {}),
    "in threads": (LINES, {"connections": 8}),
    "in tasks": (TASKS, {}),
}
EACH: Final = pytest.mark.parametrize("kind", KINDS)
TCP: Final = "127.0.0.1:0"
UNIX: Final = "unix:x.sock"
BOTH: Final = pytest.mark.parametrize("listen", [TCP, UNIX], ids=["tcp", "unix"])


def run(stage: Stage, kind: str, **options: object) -> tuple[Subject, str]:
    """The ghost, and where it listens."""
    body, more = KINDS[kind]
    chosen: dict[str, Any] = {"listen": TCP, **more, **options}
    subject = stage.run(body, **chosen)
    return subject, addresses_of(subject)[0]
