"""Carries what servers tell by ``logging`` into the ghost's log. A user who configures logging is left alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostd.serve.voice import Log

_LEVELS = ((logging.CRITICAL, "fatal"), (logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info"))


def send_to(log: Log, name: str, *, is_wanted: bool = True) -> None:
    """Have the logger of this name, and those below it, speak through the ghost's log, unless it has handlers."""
    logger = logging.getLogger(name)
    if is_wanted and not logger.handlers:
        logger.addHandler(_Carrier(log))
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)


class _Carrier(logging.Handler):
    """A handler that writes records into the ghost's log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().rstrip()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._log.exception(text, error)
        else:
            self._log.write(next((word for level, word in _LEVELS if record.levelno >= level), "debug"), text)
