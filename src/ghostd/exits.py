"""How a process ended: what the kernel says when it is reaped. A word of all packages, and of the users' hooks."""

from __future__ import annotations

from ghostd.record import Frozen


class Exit(Frozen):
    """With a code, or by a signal; nobody knows how when it has neither."""

    code: int | None = None
    signal: int | None = None
    dumped_core: bool = False

    @property
    def is_clean(self) -> bool:
        """Ended by itself with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        how = f"exit code {self.code}" if self.signal is None else f"signal {self.signal}"
        return f"{how}, core dumped" if self.dumped_core else how
