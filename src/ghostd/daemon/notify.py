"""Tells the init system how the ghost is, as sd_notify(3) does: one datagram to the socket named in NOTIFY_SOCKET.

Rule: it never waits and never fails. An init system that does not read costs it the news and nobody else anything.
"""

from __future__ import annotations

import _socket
import os
import time

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"


class Notifier:
    """Sends news to the socket that the environment names; without one it does nothing."""

    def __init__(self, address: str | None) -> None:
        # Only the two forms that the manual page has; a leading @ stands for the abstract namespace.
        self._address = address if address and address[0] in "/@" and len(address) > 1 else None

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Take the address out of the environment: spirits and their children must not speak for the manager."""
        return cls(environ.pop(VARIABLE, None))

    @property
    def is_heard(self) -> bool:
        """Whether there is a socket to tell."""
        return self._address is not None

    def ready(self, status: str) -> bool:
        """The pool is whole, after a start or a reload; the pid goes along, as a daemon is not the process started."""
        return self.send(READY="1", STATUS=status, MAINPID=str(os.getpid()))

    def reloading(self, status: str) -> bool:
        """A reload begins; :meth:`ready` tells its end."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self.send(RELOADING="1", MONOTONIC_USEC=str(microseconds), STATUS=status)

    def stopping(self, status: str) -> bool:
        """The shutdown begins."""
        return self.send(STOPPING="1", STATUS=status)

    def status(self, status: str) -> bool:
        """One line for whoever asks the init system."""
        return self.send(STATUS=status)

    def send(self, **news: str) -> bool:
        """Send these variables in one datagram; whether it was taken."""
        if self._address is None:
            return False
        text = "\n".join(f"{name}={value.replace(chr(10), ' ')}" for name, value in news.items())
        target = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            _send(text.encode(errors="backslashreplace"), target)
        except OSError:
            return False  # nobody is there, or it does not read
        return True


def _send(data: bytes, target: str) -> None:
    # By the C module: the one above it makes enums of all its numbers, 3 ms in each manager under an init system.
    kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    sender = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sender.sendto(data, target)
    finally:
        sender.close()
