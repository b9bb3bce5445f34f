"""The log itself: filters by level, hands each record to its place, and counts what the place could not take.

Rule: whatever happens to the disk, the reader or the daemon behind it, the caller goes on. Records that were lost are
told of, with their number, as soon as one can be written again.
"""

from __future__ import annotations

import os

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING, Protocol
from ghostd.log import failure
from ghostd.log.lines import JsonLines, TextLines
from ghostd.log.options import LEVELS, LogOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_STANDARD: Final[dict[str, int]] = {"/dev/stdout": 1, "/dev/stderr": 2}  # links, but of the kernel's own making


class Sink(Protocol):
    """A place that records go to."""

    def open(self) -> None:
        """Open it now; a GhostdError when it cannot be."""

    def missing(self) -> str:
        """What keeps records from going there now though it may come later, in a few words; "" when nothing does."""

    def leave_stderr(self) -> None:
        """Use it no more: nobody reads it."""

    def put(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> None:
        """Take one record whole and at once, or raise OSError."""

    def reopen(self) -> None:
        """Open it anew after a rotation."""

    def fileno(self) -> int | None:
        """A descriptor that stdout and stderr may be redirected to, or None."""

    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that must stay open."""

    def give_to(self, uid: int, gid: int) -> None:
        """Let that user open it anew later."""

    def close(self) -> None:
        """Give back what was opened."""


class Log:
    """The ghost's log. A method a level; ``fields`` stand behind the text, or beside it in JSON.

    Nothing is opened before the first record or :meth:`open`. It may be used from several threads, and after a fork.
    """

    def __init__(self, options: LogOptions | None = None, *, name: str = "ghostd") -> None:
        self.options = options or LogOptions()
        self._level = self.options.loglevel
        self._threshold = LEVELS[self._level]
        self._sink = _sink(self.options, name)
        self.place = _place(self.options)  # where the records go, in words for a person
        self._dropped = 0  # all in this process
        self._untold = 0  # those that no record has told of yet
        self._why = ""

    @property
    def level(self) -> str:
        """The least important level that is written; OptionError for a name that is none."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        self._threshold = _number(level)
        self._level = level

    @property
    def dropped(self) -> int:
        """How many records of this process could not be written."""
        return self._dropped

    def write(self, level: str, text: str, /, **fields: object) -> None:
        """Write one record; OptionError when there is no such level. A record that cannot be written is counted."""
        try:
            if LEVELS[level] > self._threshold:
                return
        except KeyError:
            _number(level)
        self._put(level, text, fields)

    def exception(self, text: str, error: BaseException, /, **fields: object) -> None:
        """Write an error record with the traceback behind it, in one piece."""
        if self._threshold >= LEVELS["error"]:
            self._put("error", text, fields, tuple(failure.told(error)))

    def trace(self, text: str, /, **fields: object) -> None:
        """Steps that only a developer wants to see."""
        self.write("trace", text, **fields)

    def debug(self, text: str, /, **fields: object) -> None:
        """What helps to find a fault."""
        self.write("debug", text, **fields)

    def info(self, text: str, /, **fields: object) -> None:
        """What normally happens."""
        self.write("info", text, **fields)

    def notice(self, text: str, /, **fields: object) -> None:
        """What is normal and yet worth a look."""
        self.write("notice", text, **fields)

    def warn(self, text: str, /, **fields: object) -> None:
        """What may become a fault."""
        self.write("warn", text, **fields)

    def error(self, text: str, /, **fields: object) -> None:
        """What went wrong, while the ghost goes on."""
        self.write("error", text, **fields)

    def fatal(self, text: str, /, **fields: object) -> None:
        """What went wrong and ends the ghost; the same as crit."""
        self.write("fatal", text, **fields)

    def crit(self, text: str, /, **fields: object) -> None:
        """What went wrong and ends the ghost."""
        self.write("crit", text, **fields)

    def alert(self, text: str, /, **fields: object) -> None:
        """What somebody must mend at once."""
        self.write("alert", text, **fields)

    def emerg(self, text: str, /, **fields: object) -> None:
        """What makes the whole machine unusable."""
        self.write("emerg", text, **fields)

    def open(self) -> None:
        """Open the place now. DeniedError, OptionError or SystemFault when a record could not go there."""
        self._sink.open()

    def missing(self) -> str:
        """What keeps records from being written now though it may come later: no system log; "" when nothing does."""
        return self._sink.missing()

    def leave_stderr(self) -> None:
        """In a detached daemon: stderr is no place any more for what nobody else takes."""
        self._sink.leave_stderr()

    def reopen(self) -> None:
        """Open the file anew, as after a rotation. Where that fails the old one goes on, and a record in it says so."""
        try:
            self._sink.reopen()
        except OSError as error:
            self._lose(error)

    def fileno(self) -> int | None:
        """The descriptor that stdout and stderr of a detached daemon go to: of a file or a stream; None for others.

        It stays the same over :meth:`reopen`, which redirects stdout and stderr too where they go to the same file.
        """
        return self._sink.fileno()

    def descriptors(self) -> tuple[int, ...]:
        """Every descriptor that must stay open for the log to work."""
        return self._sink.descriptors()

    def give_to(self, uid: int, gid: int) -> None:
        """Make the log file belong to the user that this process is about to become, who may have to open it anew."""
        self._sink.give_to(uid, gid)

    def after_fork(self) -> None:
        """In a newborn child: its own count begins. There is no lock to make anew, and each record reads the pid."""
        self._dropped = self._untold = 0

    def close(self) -> None:
        """Give back what was opened; a later record opens it again."""
        self._sink.close()

    def _put(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> None:
        try:
            if self._untold:
                self._tell()
            self._sink.put(level, text, fields, more)
        except OSError as error:
            self._lose(error)

    def _tell(self) -> None:
        # Taken first, so that of several threads one tells it; given back when it could not be told.
        lost, self._untold = self._untold, 0
        try:
            if lost:
                self._sink.put("warn", f"{lost} log records were lost ({self._why})", {})
        except OSError:
            self._untold += lost
            raise

    def _lose(self, error: OSError) -> None:
        self._dropped += 1
        self._untold += 1
        self._why = error.strerror or str(error)


def _number(level: object) -> int:
    number = LEVELS.get(level) if isinstance(level, str) else None
    if number is None:
        raise OptionError(f"log level: {level!r} is not allowed; it takes one of {', '.join(LEVELS)}")
    return number


def _place(options: LogOptions) -> str:
    if options.logger is not None:
        return "the logger"
    if options.loghandle is not None:
        return "the stream of the log"
    return "the system log" if options.logfile is None else os.path.abspath(options.logfile)


def _sink(options: LogOptions, name: str) -> Sink:
    """The place that the options name; of all kinds of places only this one is loaded."""
    if options.logger is not None:
        from ghostd.log.bridge import LoggerSink  # noqa: PLC0415

        return LoggerSink(options.logger)
    if options.loghandle is None and options.logfile is None:
        from ghostd.log.syslog import SyslogSink  # noqa: PLC0415

        return SyslogSink(options.ident or name, options.facility, options.opts)
    lines = JsonLines() if options.logformat == "json" else TextLines()
    handle = _STANDARD.get(options.logfile or "") if options.loghandle is None else options.loghandle
    if handle is not None:
        from ghostd.log.streams import StreamSink  # noqa: PLC0415

        return StreamSink(handle, lines)
    from ghostd.log.files import FileSink  # noqa: PLC0415

    assert options.logfile is not None
    return FileSink(options.logfile, lines)
