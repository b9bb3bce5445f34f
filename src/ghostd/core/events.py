"""What can happen: facts in the past tense, each with the monotonic time of the fact. Nothing in here decides."""

from dataclasses import dataclass

from ghostd.core.phases import SpiritId


@dataclass(frozen=True, slots=True)
class Exit:
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


@dataclass(frozen=True, slots=True)
class Forked:
    """The process of a spirit exists."""

    spirit: SpiritId
    at: float


@dataclass(frozen=True, slots=True)
class ForkFailed:
    """The process of a spirit could not be made."""

    spirit: SpiritId
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class Readied:
    """A spirit has said that it can work."""

    spirit: SpiritId
    at: float


@dataclass(frozen=True, slots=True)
class Left:
    """A spirit has said that it finishes and leaves, by itself or because somebody else asked it to."""

    spirit: SpiritId
    at: float


@dataclass(frozen=True, slots=True)
class Beat:
    """A spirit's cell on the board, as read: its last beat, and until when it asked not to be judged (0: not)."""

    spirit: SpiritId
    last: float
    busy_until: float


@dataclass(frozen=True, slots=True)
class BoardRead:
    """The cells of all spirits were read. Only a batch with this event may find a spirit silent."""

    beats: tuple[Beat, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Exited:
    """The process of a spirit has ended and was reaped."""

    spirit: SpiritId
    exit: Exit
    at: float


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants the ghost to end: gracefully, or at once."""

    graceful: bool
    at: float


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """Somebody wants a new generation of spirits."""

    at: float


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """Somebody wants another number of spirits: ``by`` more or fewer than now, or exactly ``to``."""

    at: float
    by: int = 0
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Continued:
    """The manager was stopped and goes on (SIGCONT): it cannot say for how long it did not run."""

    at: float


Event = Forked | ForkFailed | Readied | Left | BoardRead | Exited | StopAsked | ReloadAsked | ScaleAsked | Continued
