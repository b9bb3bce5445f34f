"""The numbers that the pool decides by: each default with its reason. Seconds are floats."""

from __future__ import annotations

from ghostd.core.phases import NEVER
from ghostd.options import Kind, check, option
from ghostd.record import Frozen

WAIT_JITTER = 0.15  # waits are up to this part shorter, so that ghosts that failed together do not return together
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: its multiples spread most evenly


class Policy(Frozen, kw_only=True):
    """How many spirits, and how long anything may take. Checked when made; raises OptionError."""

    spirits: int = option(
        4, Kind.WHOLE, "How many spirits the pool keeps.", why="the ancestor's number; 0 starts with none", most=100_000
    )
    spare: int = option(
        2,
        Kind.WHOLE,
        "How many spirits more than that may live while old ones are leaving.",
        why="the ancestor's number: two at a time keep a reload short and memory bounded",
        most=100_000,
    )
    heartbeat_interval: float = option(
        5.0,
        Kind.SECONDS,
        "How often a coroutine spirit beats by itself, and how often the heartbeat and waitup hooks are called.",
        why="the ancestor's number",
        least=0.01,
        most=1e9,
    )
    heartbeat_timeout: float = option(
        50.0,
        Kind.SECONDS,
        "A spirit without a beat for heartbeat_interval plus this is silent.",
        why="the ancestor's number: ten missed beats",
        most=1e9,
    )
    boot_timeout: float = option(
        120.0,
        Kind.SECONDS,
        "How long a spirit may take from its fork until it is ready.",
        why="loading a large model takes a minute; a deadlock at import must not last for ever",
        least=0.01,
        most=1e9,
    )
    graceful_timeout: float = option(
        120.0,
        Kind.SECONDS,
        "How long a spirit that was asked to quit may go on before it is killed; 0 kills at once.",
        why="the ancestor's number: jobs of up to two minutes are finished",
        most=1e9,
    )
    silent_timeout: float = option(
        10.0,
        Kind.SECONDS,
        "How long a silent spirit has between the request to quit and SIGKILL.",
        why="enough to write its stacks and roll back; a silent spirit has had its time already",
        most=1e9,
    )
    kill_timeout: float = option(
        5.0,
        Kind.SECONDS,
        "How long after SIGKILL a spirit that is still there counts as unkillable.",
        why="a process that does not die in seconds waits for a disk or network that does not answer",
        most=1e9,
    )
    young: float = option(
        1.0,
        Kind.SECONDS,
        "A spirit that ends sooner than this after its fork died early: its replacement is backed off.",
        why="short enough for honest short jobs, long enough to stop a loop of deaths",
        most=1e9,
    )
    backoff_first: float = option(
        0.1,
        Kind.SECONDS,
        "How long the replacement waits after the second early death in a row; doubled with each further one.",
        why="the first replacement is at once; a tenth of a second is not noticed",
        least=0.001,
        most=1e9,
    )
    backoff_most: float = option(
        6.0,
        Kind.SECONDS,
        "The longest such wait.",
        why="at most twelve boots a minute and seat, yet back soon after the cause is mended",
        least=0.001,
        most=1e9,
    )
    intensity: int = option(
        5,
        Kind.WHOLE,
        "So many early deaths within intensity_period make the pool degraded.",
        why="one bad job is no trend",
        least=1,
        most=1_000_000,
    )
    intensity_period: float = option(
        60.0, Kind.SECONDS, "The length of that window.", why="a human's idea of 'keeps crashing'", least=0.01, most=1e9
    )
    give_up_after: float = option(
        0.0,
        Kind.SECONDS,
        "End the ghost when no spirit was ready for so long because each died early; 0 never gives up.",
        why="staying up, degraded, is what a pool is for; under an init system giving up may be wanted",
        most=1e9,
    )
    max_lifetime: float = option(
        0.0,
        Kind.SECONDS,
        "How old a spirit grows before it is replaced by a new one; 0: as old as it likes.",
        why="a spirit that leaks or fragments is better mended; until then, an hour or a day may be wanted",
        most=1e9,
    )
    recycle_jitter: float = option(
        0.2,
        Kind.NUMBER,
        "Up to what part max_lifetime, max_ticks and max_requests are made smaller, another one for each spirit.",
        why="spirits that began together would else wear out together, and load what they need at the same moment",
        most=1.0,
    )
    drain_delay: float = option(
        0.0,
        Kind.SECONDS,
        "How long, in a graceful stop, the ghost says that it is not ready and goes on serving before it asks spirits.",
        why="only who sits behind a balancer that needs time to notice wants it",
        most=1e9,
    )
    jitter_seed: int = option(
        0, Kind.WHOLE, "Makes the jitter of waits differ between ghosts.", why="set from the pid when 0"
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def seats(self) -> int:
        """How many spirits may live at once."""
        return self.spirits + self.spare

    @property
    def silence(self) -> float:
        """Seconds without a beat after which a spirit is silent."""
        return self.heartbeat_interval + self.heartbeat_timeout

    @property
    def stop_limit(self) -> float:
        """Seconds after which a graceful stop kills who is left."""
        return self.drain_delay + self.graceful_timeout

    def backoff(self, streak: int, number: int) -> float:
        """Seconds that the ``number``-th wait takes, after so many failures in a row.

        Nothing for the first, then doubling from ``backoff_first`` to ``backoff_most``, a little less by jitter.
        """
        if streak <= 1:
            return 0.0
        wait = min(self.backoff_first * 2.0 ** min(streak - 2, 64), self.backoff_most)
        return wait * (1.0 - WAIT_JITTER * self._part(number))

    def worn_after(self, serial: int) -> float:
        """The age in seconds at which this spirit is worn."""
        return self._shortened(self.max_lifetime, serial) if self.max_lifetime else NEVER

    def most_of(self, number: int, serial: int) -> int:
        """After how many things, of ``number`` allowed, this spirit is worn; 0: never."""
        return max(round(self._shortened(number, serial)), 1) if number else 0

    def _shortened(self, limit: float, serial: int) -> float:
        return limit * (1.0 - self.recycle_jitter * self._part(serial))

    def _part(self, number: int) -> float:
        """The ``number``-th of an even, repeatable spread over 0..1: there is no chance in the core."""
        return (self.jitter_seed + number) * GOLDEN % 2**64 / 2**64
