"""What may be asked of the log: where it goes, how it looks and how much it says. Checked before anything is opened."""

from __future__ import annotations

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.options import Kind, check, option
from ghostd.record import Frozen

if TYPE_CHECKING:
    from typing import Final

LEVELS: Final[dict[str, int]] = {
    "trace": 8,
    "debug": 7,
    "info": 6,
    "notice": 5,
    "warn": 4,
    "error": 3,
    "fatal": 2,
    "crit": 2,
    "alert": 1,
    "emerg": 0,
}

# The numbers of RFC 5424, section 6.2.1.
FACILITIES: Final[dict[str, int]] = {
    "kern": 0,
    "user": 1,
    "mail": 2,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "lpr": 6,
    "news": 7,
    "uucp": 8,
    "cron": 9,
    "authpriv": 10,
    "ftp": 11,
    **{f"local{number}": 16 + number for number in range(8)},
}

# Those of openlog(3). Some ask for what is always so here, and are accepted for the sake of old settings.
LOGOPTS: Final = ("cons", "ndelay", "nofatal", "nowait", "odelay", "perror", "pid")


class LogOptions(Frozen, kw_only=True):
    """Where the log goes, how it looks, and how much it says.

    The first of logger, loghandle and logfile that is given takes it; without any, the system log does.
    """

    logfile: str | None = option(
        None, Kind.PATH, "The file that the log is appended to.", why="None: syslog, as the ancestor has it"
    )
    logformat: str = option(
        "text",
        Kind.CHOICE,
        "How a record looks in a file or stream.",
        why="people read logs first, programs second",
        choices=("text", "json"),
    )
    loghandle: object = option(None, Kind.OBJECT, "An open stream that the log is written to.", why="None: not used")
    logger: object = option(
        None, Kind.OBJECT, "A logger of logging, structlog or the like that the log goes to.", why="None: not used"
    )
    facility: str = option(
        "user",
        Kind.CHOICE,
        "The facility of the system log.",
        why="the ancestor's, and what syslog(3) takes by default",
        choices=tuple(FACILITIES),
    )
    logopt: str = option(
        "ndelay,pid",
        Kind.TEXT,
        "Options of openlog(3), with commas: pid shows the pid, perror writes to stderr as well.",
        why="the ancestor's: several processes share the name, so the pid tells them apart",
    )
    ident: str | None = option(
        None, Kind.TEXT, "The name that the system log shows.", why="None: the ghost's name, so that it is found by it"
    )
    loglevel: str = option(
        "debug",
        Kind.CHOICE,
        "The least important level that is written.",
        why="the ancestor's: everything but trace; a pool says a few lines a minute",
        choices=tuple(LEVELS),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.logfile == "":
            raise OptionError("option logfile: '' is not allowed; it takes a path, or None for the system log")
        if self.ident == "":
            raise OptionError("option ident: '' is not allowed; it takes a name, or None for the ghost's own")
        unknown = [name for name in self.opts if name not in LOGOPTS]
        if unknown:
            raise OptionError(
                f"option logopt: {self.logopt!r} is not allowed; it takes names with commas, of {', '.join(LOGOPTS)}"
            )
        if self.loghandle is not None and not callable(getattr(self.loghandle, "write", None)):
            raise OptionError(
                f"option loghandle: {self.loghandle!r} is not allowed; it takes an open stream with write()"
            )
        if self.logger is not None and not _is_logger(self.logger):
            raise OptionError(f"option logger: {self.logger!r} is not allowed; it takes an object with info() or log()")

    @property
    def opts(self) -> frozenset[str]:
        """The names in ``logopt``."""
        return frozenset(name.strip() for name in self.logopt.split(",") if name.strip())


def _is_logger(thing: object) -> bool:
    return callable(getattr(thing, "info", None)) or callable(getattr(thing, "log", None))
