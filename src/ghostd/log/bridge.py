"""The log as a guest in a logger of the user's: logging, structlog, or anything that has methods named like levels.

Rule: nothing is imported for it. What the logger can do is read off it, so a project without ``logging`` stays
without.
"""

from __future__ import annotations

import errno

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.log.lines import plain
from ghostd.log.options import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

# The names to look for, best first. logging has no trace, notice, alert and emerg, and its warn() is deprecated.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "trace": ("trace", "debug"),
    "debug": ("debug",),
    "info": ("info",),
    "notice": ("notice", "info"),
    "warn": ("warning", "warn"),
    "error": ("error",),
    "fatal": ("critical", "fatal", "error"),
    "crit": ("critical", "crit", "error"),
    "alert": ("alert", "critical", "error"),
    "emerg": ("emerg", "critical", "error"),
}

# For a logger that only has log(level, message): the numbers that logging gives to these names.
_NUMBERS: Final[dict[str, int]] = {
    "trace": 5,
    "debug": 10,
    "info": 20,
    "notice": 25,
    "warn": 30,
    "error": 40,
    "fatal": 50,
    "crit": 50,
    "alert": 50,
    "emerg": 50,
}


class LoggerSink:
    """Hands records to a logger; structlog gets the fields as they are, others get them in the text."""

    def __init__(self, logger: object) -> None:
        self._calls = {level: _call(logger, level) for level in LEVELS}
        self._takes_fields = type(logger).__module__.partition(".")[0] == "structlog"

    def open(self) -> None:
        """Nothing: it is the user's."""

    def missing(self) -> str:
        """Nothing: it is the user's."""
        return ""

    def leave_stderr(self) -> None:
        """Nothing: it has never used it."""

    def put(self, level: str, text: str, fields: Mapping[str, object], more: tuple[str, ...] = ()) -> None:
        """Hand over one record; OSError when the logger's own stream could not take it."""
        call = self._calls[level]
        try:
            if self._takes_fields:
                call(text, **({**fields, "traceback": "\n".join(more)} if more else fields))
            else:
                call("\n".join([plain(text, fields), *more]))
        except ValueError as error:  # a closed stream inside of it
            raise OSError(errno.EBADF, str(error)) from error

    def reopen(self) -> None:
        """Nothing: it is the user's."""

    def fileno(self) -> None:
        """None: it may not even have a descriptor."""

    def descriptors(self) -> tuple[int, ...]:
        """None that are known here."""
        return ()

    def give_to(self, uid: int, gid: int) -> None:
        """Nothing: it is the user's."""

    def close(self) -> None:
        """Nothing: it is the user's."""


def _call(logger: Any, level: str) -> Callable[..., object]:  # noqa: ANN401
    for name in _NAMES[level]:
        found = getattr(logger, name, None)
        if callable(found):
            method: Callable[..., object] = found
            return method
    log = getattr(logger, "log", None)
    if not callable(log):
        raise OptionError(
            f"option logger: {logger!r} is not allowed; it has neither {' nor '.join(_NAMES[level])} nor log"
        )

    def by_number(text: str, **fields: object) -> object:
        return log(_NUMBERS[level], text, **fields)

    return by_number
