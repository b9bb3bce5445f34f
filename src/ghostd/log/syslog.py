"""The system log, spoken to directly: one datagram a record, in the form that syslog(3) sends.

Rule: it never waits. That is why the C library's own syslog(3) is not used: it blocks as long as the daemon behind
the socket is stuck, and when there is no socket it drops every record without a word. Here a full socket is a lost
record that is counted, and no socket is said once on stderr, which then takes the records. A detached daemon has no
stderr: its starter says it, and its records are counted until a socket is there.
"""

from __future__ import annotations

import _socket  # not socket: it makes enums of all its numbers, 3 ms and their memory in each spirit
import errno
import os
import time

from ghostd.hints import TYPE_CHECKING
from ghostd.log.lines import TextLines, plain
from ghostd.log.options import FACILITIES, LEVELS
from ghostd.log.streams import can_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

ADDRESS: Final = "/dev/log"
_RETRY_EVERY: Final = 1.0  # seconds between looks for a socket that was not there
_GONE: Final = (
    errno.ECONNREFUSED,
    errno.ENOTCONN,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.EBADF,
)  # its daemon was started anew


class SyslogSink:
    """Sends records to the system log as ``ident``; to stderr, when there is one, where no system log runs."""

    def __init__(self, ident: str, facility: str, opts: frozenset[str], address: str = ADDRESS) -> None:
        self._address = address
        self._ident = plain(ident, {})
        self._shows_pid = "pid" in opts
        self._facility = FACILITIES[facility] << 3
        self._copies = "perror" in opts
        self._has_stderr = True
        self._lines = TextLines()
        self._socket: _socket.socket | None = None
        self._look_at = 0.0
        self._has_told = False

    def open(self) -> None:
        """Nothing: a system log may come and go while the ghost lives."""

    def missing(self) -> str:
        """That no system log runs, in a few words; "" when one does."""
        try:
            _connection(self._address).close()
        except OSError as error:
            return self._absence(error)
        return ""

    def leave_stderr(self) -> None:
        """What is written to stderr from now on, nobody reads."""
        self._has_stderr = self._copies = False

    def put(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> None:
        """Send one record; OSError when nobody could take it."""
        connection = self._connected()
        if connection is None:
            self._to_stderr(level, text, fields, more)
            return
        if self._copies:
            _write_stderr(self._lines(level, text, fields, more))
        self._send(connection, self._datagram(level, plain(text, fields)))
        for line in more:
            self._send(self._connected() or connection, self._datagram(level, plain(line, {})))

    def reopen(self) -> None:
        """Connect anew at the next record."""
        self.close()

    def fileno(self) -> None:
        """None: a system log takes no stdout of anybody."""

    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that must stay open for this log to work."""
        return () if self._socket is None else (self._socket.fileno(),)

    def give_to(self, uid: int, gid: int) -> None:
        """Nothing: everybody may write to the system log."""

    def close(self) -> None:
        """Close the socket; a later record connects again."""
        connection, self._socket = self._socket, None
        self._look_at = 0.0
        if connection is not None:
            connection.close()

    def _connected(self) -> _socket.socket | None:
        if self._socket is None and time.monotonic() >= self._look_at:
            self._connect()
        return self._socket

    def _connect(self) -> None:
        try:
            self._socket = _connection(self._address)
        except OSError as error:
            self._look_at = time.monotonic() + _RETRY_EVERY
            self._tell(error)

    def _send(self, connection: _socket.socket, data: bytes) -> None:
        try:
            connection.send(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self.close()
            again = self._connected()
            if again is None:
                raise
            again.send(data)

    def _datagram(self, level: str, text: str) -> bytes:
        severity = min(LEVELS[level], 7)  # syslog has nothing below debug
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime())
        pid = f"[{os.getpid()}]" if self._shows_pid else ""
        return f"<{self._facility | severity}>{stamp} {self._ident}{pid}: {text}".encode()

    def _to_stderr(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...]) -> None:
        if not (self._has_stderr and _write_stderr(self._lines(level, text, fields, more))):
            raise OSError(errno.ENOTCONN, f"no system log at {self._address} and no stderr")

    def _tell(self, error: OSError) -> None:
        if self._has_stderr and not self._has_told:
            self._has_told = True
            told = f"{self._absence(error)}: the log goes to stderr; option logfile names a file instead"
            _write_stderr(self._lines("warn", told, {}))

    def _absence(self, error: OSError) -> str:
        return f"no system log at {self._address} ({error.strerror})"


def _connection(address: str) -> _socket.socket:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _write_stderr(data: bytes) -> bool:
    if not can_write(2):
        return False
    os.write(2, data)
    return True
