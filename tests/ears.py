"""An init system that hears what a ghost tells it, by the protocol of sd_notify(3) and by no code of ghostd."""

from __future__ import annotations

import array
import os
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.support import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Heard(NamedTuple):
    """One datagram: when it was read, what it says, which descriptors came along, and who sent it."""

    at: float
    says: dict[str, str]
    fds: tuple[int, ...]
    sender: int


class Ears:
    """A socket for NOTIFY_SOCKET, that has room for a few datagrams until they are read."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.address)
        self.all: list[Heard] = []

    def read(self) -> list[Heard]:
        """What came since the last call; all of it stays in ``all``."""
        found: list[Heard] = []
        while (one := self.read_one()) is not None:
            found.append(one)
        return found

    def read_one(self) -> Heard | None:
        """The next datagram, or None."""
        try:
            text, more, _, _ = self._socket.recvmsg(65_536, 4096)
        except BlockingIOError:
            return None
        fds, sender = array.array("i"), 0
        for level, kind, data in more:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data)
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                sender = array.array("i", data)[0]
        says = dict(line.split("=", 1) for line in text.decode().split("\n"))
        if "BARRIER" in says:  # whoever sent it waits until it is closed
            for fd in fds:
                os.close(fd)
            del fds[:]
        heard = Heard(time.monotonic(), says, tuple(fds), sender)
        self.all.append(heard)
        return heard

    def words(self) -> list[str]:
        """The first word of every datagram so far."""
        self.read()
        return [next(iter(one.says)) for one in self.all]

    def wait(self, word: str, value: str = "", count: int = 1, timeout: float = PATIENCE) -> Heard:
        """Wait until so many datagrams have this word, with this value in it: the last of them."""

        def found() -> list[Heard]:
            self.read()
            return [one for one in self.all if word in one.says and value in one.says[word]]

        what = f"{count} x {word}={value}; heard: {[one.says for one in self.all]}"
        try:
            wait_until(lambda: len(found()) >= count, timeout)
        except AssertionError:
            raise AssertionError(what) from None
        return found()[count - 1]

    def fill(self) -> None:
        """Leave no room."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
            while True:
                try:
                    other.sendto(b"NOISE=1", self.address)
                except BlockingIOError:
                    return

    def close(self) -> None:
        """Hear no more."""
        for one in self.all:
            for fd in one.fds:
                os.close(fd)
        self.all.clear()
        self._socket.close()
