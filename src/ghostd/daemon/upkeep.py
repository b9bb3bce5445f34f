"""Looks after the files of a living ghost: who deletes the pidfile must not get a second ghost by the next start.

Rule: it wakes nobody. It is called when the manager is awake anyway, and looks at most once a second: a few stat(2).
"""

from __future__ import annotations

import time

from ghostd.errors import GhostdError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ghostd.daemon.pidfile import FilePid
    from ghostd.daemon.ready import ReadyFile

_LOOK_EVERY: Final = 1.0  # seconds: nobody starts a ghost within the second in which its pidfile was deleted


class Upkeep:
    """Makes pidfile, lock and ready file anew where they are missing."""

    def __init__(self, pidfile: FilePid, ready: ReadyFile) -> None:
        self._pidfile = pidfile
        self._ready = ready
        self._look_at = 0.0
        self._complained: set[str] = set()

    def look(self, tell: Callable[[str, str], None]) -> None:
        """Look, unless that was done within the last second. Never raises.

        ``tell`` takes a level and a line for the log: what was mended, and once what could not be.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY
        self._mend(f"Pidfile {self._pidfile.file}", self._pidfile.restore, tell)
        self._mend(f"Ready file {self._ready.path}", self._ready.restore, tell)

    def _mend(self, what: str, restore: Callable[[], bool], tell: Callable[[str, str], None]) -> None:
        try:
            was_missing = restore()
        except GhostdError as error:
            if what not in self._complained:
                self._complained.add(what)
                tell("error", f"{what} is missing and cannot be made anew: {error}")
            return
        if was_missing:
            tell("notice", f"{what} was missing: made anew")
        self._complained.discard(what)
