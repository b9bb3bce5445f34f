"""Looks after the pidfile of a living ghost: who deletes it by mistake must not get a second ghost by the next start.

Rule: it wakes nobody. It is called whenever the manager is awake anyway, and looks at most once a second: two stat(2).
"""

from __future__ import annotations

import time

from ghostd.errors import GhostdError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ghostd.daemon.pidfile import FilePid

_LOOK_EVERY: Final = 1.0  # seconds: nobody starts a ghost within the second in which its pidfile was deleted


class Upkeep:
    """Makes pidfile and lock anew where they are missing."""

    def __init__(self, pidfile: FilePid) -> None:
        self._pidfile = pidfile
        self._look_at = 0.0
        self._has_told = False

    def look(self, tell: Callable[[str, str], None]) -> None:
        """Look, unless that was done within the last second. Never raises.

        ``tell`` takes a level and a line for the log: what was mended, and once what could not be.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY
        try:
            was_missing = self._pidfile.restore()
        except GhostdError as error:
            if not self._has_told:
                self._has_told = True
                tell("error", f"Pidfile {self._pidfile.file} is missing and cannot be made anew: {error}")
            return
        if was_missing:
            tell("notice", f"Pidfile {self._pidfile.file} was missing: made anew")
        self._has_told = False
