"""Speaks to the init system as sd_notify(3) has it: one datagram a piece of news, to the socket named in NOTIFY_SOCKET.

Rule: it never waits and never fails. Each call answers whether the matter is done: False means that the init system
does not read at the moment, and that the same is to be said again. Where nobody is there, nothing is left to do.
"""

from __future__ import annotations

import os
import select
import struct
import time

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping
    from typing import Final

SOCKET, WATCHDOG, WATCHDOG_FOR = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
NAME_MOST: Final = 255  # characters of FDNAME that systemd takes
_MICROSECONDS: Final = 1_000_000
_DIGITS_MOST: Final = 18  # of a number of microseconds that fits 64 bits


class Notifier:
    """Sends news to an init system; without an address it does nothing.

    ``watchdog``: the init system wants to hear :meth:`alive` at least once in so many seconds; 0 when it does not.
    """

    def __init__(self, address: str | None, watchdog: float = 0.0) -> None:
        # Only the two forms that the manual page has; a leading @ stands for the abstract namespace.
        self._address = address if address and address[0] in "/@" and len(address) > 1 else None
        self.watchdog = watchdog if self._address else 0.0

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Take what is meant for this process out of the environment: spirits and what they start must not speak."""
        address, period, whom = (environ.pop(name, None) for name in (SOCKET, WATCHDOG, WATCHDOG_FOR))
        is_ours = whom is None or whom == str(os.getpid())
        return cls(address, _seconds(period) if is_ours else 0.0)

    @property
    def is_heard(self) -> bool:
        """Whether there is a socket to tell."""
        return self._address is not None

    # ── news; ``limit``: seconds that the next step may take, whatever the unit's own limit is ──
    def ready(self, status: str) -> bool:
        """The ghost is up, after a start or a reload; the pid goes along, as a daemon is not the process started."""
        return self.send({"READY": "1", "STATUS": status, "MAINPID": str(os.getpid())})

    def reloading(self, status: str, limit: float) -> bool:
        """A reload begins; :meth:`ready` tells its end. The moment goes along, as Type=notify-reload asks for it."""
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self.send({"RELOADING": "1", "MONOTONIC_USEC": str(moment), "STATUS": status, **_extended(limit)})

    def stopping(self, status: str, limit: float) -> bool:
        """The shutdown begins."""
        return self.send({"STOPPING": "1", "STATUS": status, **_extended(limit)})

    def status(self, status: str, limit: float = 0.0) -> bool:
        """One line for whoever asks the init system."""
        return self.send({"STATUS": status, **_extended(limit)})

    def alive(self) -> bool:
        """The watchdog need not bark."""
        return self.send({"WATCHDOG": "1"})

    # ── descriptors that outlive this process ──
    def store(self, name: str, fd: int) -> bool:
        """Have the init system keep a copy of the descriptor: it is there again, by its name, after a crash."""
        return self.send({"FDSTORE": "1", "FDNAME": name}, fd)

    def drop(self, name: str) -> bool:
        """Have it close what it keeps under the name."""
        return self.send({"FDSTOREREMOVE": "1", "FDNAME": name})

    def forget(self, names: Iterable[str], limit: float = 1.0) -> None:
        """Have it close what it keeps under these names, and wait for that, a moment at most."""
        for name in names:
            self.drop(name)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.send({"BARRIER": "1"}, writer)  # it closes its copy when it has come to this
        os.close(writer)
        poll = select.poll()
        poll.register(reader, 0)
        if self.is_heard:
            poll.poll(limit * 1000)
        os.close(reader)

    def send(self, news: Mapping[str, str], fd: int = -1) -> bool:
        """Send these variables, and a descriptor with them, in one datagram."""
        if self._address is None:
            return True
        text = "\n".join(f"{name}={value.replace(chr(10), ' ')}" for name, value in news.items())
        target = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            _send(text.encode(errors="backslashreplace"), target, fd)
        except BlockingIOError:
            return False
        except OSError:
            return True  # nobody is there, or the descriptor was closed: no second try will change that
        return True


def _send(data: bytes, target: str, fd: int) -> None:
    # By the C module, and only where it is needed: the one above it makes enums of all its numbers, which takes 3 ms.
    import _socket  # noqa: PLC0415

    rights = [] if fd < 0 else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
    kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    sender = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sender.sendmsg([data], rights, 0, target)
    finally:
        sender.close()


def _extended(limit: float) -> dict[str, str]:
    return {"EXTEND_TIMEOUT_USEC": str(int(limit * _MICROSECONDS))} if limit > 0.0 else {}


def _seconds(text: str | None) -> float:
    """Microseconds as seconds; 0 for what is no such number."""
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MOST
    return int(text) / _MICROSECONDS if text is not None and is_number else 0.0
