"""Clients of a ghost that listens: who talks to it all the time, and keeps count of what was lost.

Rule: every connection ends in one of three ways, answered, refused or lost; nothing is tried twice.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support import wait_until

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from tests.live.harness import Subject

TIMEOUT = 20.0


def addresses_of(subject: Subject) -> list[str]:
    """Where the log says that it listens."""
    return [line.rpartition(" ")[2] for line in subject.wait_log(r"\] Listening on ")]


def connect(address: str) -> socket.socket:
    """A connection to an address, as the log has it."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        place: object = address.removeprefix("unix:")
    else:
        sock = socket.socket(socket.AF_INET6 if "[" in address else socket.AF_INET)
        host, _, port = address.rpartition(":")
        place = (host.strip("[]") or "127.0.0.1", int(port))
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(place)  # type: ignore[arg-type]
    except OSError:
        sock.close()
        raise
    return sock


def ask(address: str, text: bytes = b"hello\n") -> bytes:
    """One connection, one line, one answer."""
    with connect(address) as sock:
        sock.sendall(text)
        return sock.makefile("rb").readline()


@dataclass(slots=True)
class Tally:
    """What became of the connections of one client, or of all."""

    answers: Counter[bytes] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return sum(self.answers.values())

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.answers + other.answers, self.lost + other.lost)


class Traffic:
    """Clients that connect, ask and are answered, again and again, in threads of this process."""

    def __init__(
        self, address: str, clients: int = 4, pause: float = 0.002, answers: bytes = rb"(\d+) hello\n"
    ) -> None:
        """``answers`` is what one looks like; they are counted by its group."""
        self._address = address
        self._pause = pause
        self._answers = answers
        self._over = threading.Event()
        self._tallies = [Tally() for _ in range(clients)]
        self._threads = [threading.Thread(target=self._talk, args=(tally,)) for tally in self._tallies]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        try:
            self.wait_answers(10)
        except BaseException:
            self.__exit__(None, None, None)  # else they ask for ever, and this process never ends
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    @property
    def total(self) -> Tally:
        return sum(self._tallies, Tally())

    def wait_answers(self, more: int) -> None:
        """Wait until so many more were answered."""
        wanted = self.total.answered + more
        wait_until(lambda: self.total.answered >= wanted, TIMEOUT, f"{more} more answers")

    def _talk(self, tally: Tally) -> None:
        while not self._over.wait(self._pause):
            begun = time.monotonic()
            try:
                answer = ask(self._address)
            except OSError as error:
                tally.lost.append(f"{error!r} after {time.monotonic() - begun:.3f} s")
                continue
            if found := re.fullmatch(self._answers, answer):
                tally.answers[found[1]] += 1
            else:
                tally.lost.append(f"{answer!r} after {time.monotonic() - begun:.3f} s")
