"""What can be ordered: the pool's decisions, each with its reason and its numbers. Nothing in here does anything."""

from __future__ import annotations

from enum import Enum

from ghostd.hints import TYPE_CHECKING
from ghostd.record import Frozen

if TYPE_CHECKING:  # phases imports Reason from here
    from ghostd.core.phases import Generation, SpiritId
    from ghostd.errors import ExitCode
    from ghostd.exits import Exit


class Reason(Enum):
    """Why something was ordered, in words that can be said to a user."""

    MISSING = "the pool is short of spirits"
    RETRY = "back-off is over"
    RELOAD = "reload"
    RELOAD_FAILED = "the new generation failed"
    RECYCLED = "a worn spirit is replaced"
    SURPLUS = "more spirits than wanted"
    OWN_WISH = "it said that it leaves"
    SILENT = "no heartbeat"
    SLOW_BOOT = "not ready in time"
    SLOW_LEAVE = "did not leave in time"
    STOP = "stop"
    STOP_AT_ONCE = "stop at once"
    ENDED = "nobody had asked it to"
    EARLY_DEATH = "it ended too early"
    OUTLIVED = "it outlived SIGKILL"
    GAVE_UP = "no spirit stays alive"
    PAUSED = "the manager did not run"
    WHOLE = "as many spirits are ready as wanted"


class News(Enum):
    """What the pool as a whole has to tell."""

    WHOLE = "whole"
    DEGRADED = "degraded"
    RELOADING = "reloading"
    RELOADED = "reloaded"
    RELOAD_FAILED = "reload failed"
    SCALED = "scaled"
    DRAINING = "draining"  # a stop was asked for: not ready any more, but serving for a while
    HELD = "held"  # a replacement waits for its back-off
    FORK_FAILED = "fork failed"
    CREDITED = "credited"  # the manager did not run for a while


class Spawn(Frozen):
    """Make the process of this spirit."""

    spirit: SpiritId
    seat: int
    generation: Generation
    reason: Reason


class Ask(Frozen):
    """Ask the spirit to quit; it has ``limit`` seconds."""

    spirit: SpiritId
    reason: Reason
    limit: float


class Rouse(Frozen):
    """Have a silent spirit write its stacks, ask it to quit, and let it go on if it was stopped; as in Ask."""

    spirit: SpiritId
    reason: Reason
    silence: float  # seconds without a sign of life
    limit: float


class Kill(Frozen):
    """End the spirit and all that it has started, with SIGKILL, ``after`` seconds in the phase it did not leave."""

    spirit: SpiritId
    reason: Reason
    after: float


class Bury(Frozen):
    """The spirit has ended: give back what was held for it. ``age`` in seconds since the fork."""

    spirit: SpiritId
    reason: Reason
    exit: Exit
    age: float


class Abandon(Frozen):
    """Report a spirit that outlived SIGKILL by ``after`` seconds; go on without it."""

    spirit: SpiritId
    reason: Reason
    after: float


class Announce(Frozen):
    """Tell the news to whoever waits for it; ``detail`` has the numbers and what comes next."""

    news: News
    reason: Reason
    detail: str


class Finish(Frozen):
    """The shutdown begins: gracefully, or (perhaps after that) at once."""

    graceful: bool
    reason: Reason


class Halt(Frozen):
    """Nothing is left to do: end with this code."""

    code: ExitCode
    reason: Reason
    detail: str


Action = Spawn | Ask | Rouse | Kill | Bury | Abandon | Announce | Finish | Halt
