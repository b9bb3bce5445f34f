"""What can happen: facts in the past tense, each with the monotonic time of the fact. Nothing in here decides."""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghostd.core.phases import SpiritId

    Cell = tuple[float, float]  # a spirit's last beat, and until when it asked not to be judged


class Exit(Frozen):
    """How a process ended: with a code, or by a signal."""

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


class Forked(Frozen):
    """The process of a spirit exists."""

    spirit: SpiritId
    at: float


class ForkFailed(Frozen):
    """The process of a spirit could not be made."""

    spirit: SpiritId
    error: str
    at: float


class Readied(Frozen):
    """A spirit has said that it can work."""

    spirit: SpiritId
    at: float


class Left(Frozen):
    """A spirit has said that it finishes and leaves, by itself or because somebody else asked it to."""

    spirit: SpiritId
    at: float


class BoardRead(Frozen):
    """The cells of all spirits were read. Only a batch with this event may find a spirit silent."""

    cells: Mapping[SpiritId, Cell]
    at: float


class Exited(Frozen):
    """The process of a spirit has ended and was reaped."""

    spirit: SpiritId
    exit: Exit
    at: float


class StopAsked(Frozen):
    """Somebody wants the ghost to end: gracefully, or at once."""

    graceful: bool
    at: float


class ReloadAsked(Frozen):
    """Somebody wants a new generation of spirits."""

    at: float


class ScaleAsked(Frozen):
    """Somebody wants another number of spirits: ``by`` more or fewer than now, or exactly ``to``."""

    at: float
    by: int = 0
    to: int | None = None


class Continued(Frozen):
    """The manager was stopped and goes on (SIGCONT): it cannot say for how long it did not run."""

    at: float


Event = Forked | ForkFailed | Readied | Left | BoardRead | Exited | StopAsked | ReloadAsked | ScaleAsked | Continued
