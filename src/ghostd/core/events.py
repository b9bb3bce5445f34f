"""What can happen: facts in the past tense, each with the monotonic time of the fact. Nothing in here decides."""

from __future__ import annotations

from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ghostd.core.phases import SpiritId
    from ghostd.exits import Exit

Cell = tuple[float, float, int, int]  # a spirit's last beat, until when not to judge it, in flight, served


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


class Worn(Frozen):
    """A spirit has said that it has done its share: it works on until a replacement is ready and it is asked to go."""

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


Event = (
    Forked | ForkFailed | Readied | Left | Worn | BoardRead | Exited | StopAsked | ReloadAsked | ScaleAsked | Continued
)
