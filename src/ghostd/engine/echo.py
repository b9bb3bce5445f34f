"""What spirits print, where the log has no descriptor of its own (syslog, a logger): lines out of a pipe, into the log.

Bounded on all sides: one read a turn, and a line that does not end is cut.
"""

from __future__ import annotations

import os

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ghostd.core.events import Event
    from ghostd.engine.perform import Scribe

_READ_BYTES = 65_536
_LINE_BYTES = 8_192


class Echo:
    """The pipe and what is left of its last line. Spirits write to ``writer``; the manager never does."""

    def __init__(self, log: Scribe) -> None:
        self._log = log
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._rest = b""

    def fileno(self) -> int:
        """Readable when something was printed."""
        return self._reader

    def gather(self, _now: float) -> Iterable[Event]:
        """Log the lines that have come in; they are no events."""
        try:
            *lines, self._rest = (self._rest + os.read(self._reader, _READ_BYTES)).split(b"\n")
        except BlockingIOError:
            return ()
        if len(self._rest) > _LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._log.write("info", f"Printed: {line.decode(errors='replace')}")
        return ()

    def close(self) -> None:
        """Log what is left, and give the pipe back."""
        self.gather(0.0)
        if self._rest:
            self._log.write("info", f"Printed: {self._rest.decode(errors='replace')}")
        os.close(self._reader)
        os.close(self.writer)
