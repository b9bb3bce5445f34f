"""Spirits as little random programs: they boot, beat, are busy, hang, lie, leave, die, and are asked to quit.

Rule: a spirit is known to its manager only by its cell on the board (``state``, ``beat``, ``busy_until``), by the
doorbell and by its end. What it really does is in its other fields, which the checks alone may read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from random import Random
from typing import Final

from ghostd.core.phases import SpiritId
from ghostd.core.policy import Policy
from ghostd.exits import Exit
from ghostd.testing.kernel import FOREVER, Kernel, Process

_SIGSEGV: Final = 11
_FAR_FUTURE: Final = 2.0**64 / 1e9  # the largest number of nanoseconds that fits into a word of the board


class State(IntEnum):
    """What a spirit says of itself on the board."""

    BOOTING = 0
    READY = 1
    LEAVING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """How good the code of a generation is, as chances from 0 to 1."""

    dies_booting: float = 0.0
    never_ready: float = 0.0
    boots_slowly: float = 0.0
    dies_young: float = 0.0
    dies: float = 0.0
    hangs: float = 0.0
    leaves: float = 0.0
    leaves_unseen: float = 0.0  # says that it leaves before it has said ready
    lies: float = 0.0
    ignores_quit: float = 0.0
    finishes_slowly: float = 0.0
    is_busy: float = 0.0
    wears: float = 0.0


SOUND: Final = Mood()
FAIR: Final = Mood(
    boots_slowly=0.02,
    dies_young=0.01,
    dies=0.3,
    hangs=0.15,
    leaves=0.15,
    leaves_unseen=0.01,
    lies=0.02,
    ignores_quit=0.05,
    finishes_slowly=0.1,
    is_busy=0.1,
    wears=0.2,
)
BAD: Final = Mood(
    boots_slowly=0.1,
    dies_young=0.1,
    dies=0.4,
    hangs=0.4,
    leaves=0.1,
    leaves_unseen=0.05,
    lies=0.1,
    ignores_quit=0.4,
    finishes_slowly=0.3,
    is_busy=0.2,
    wears=0.4,
    dies_booting=0.05,
    never_ready=0.05,
)
BROKEN: Final = Mood(dies_booting=1.0)
STUCK: Final = Mood(never_ready=0.7, boots_slowly=0.3)
CRASHY: Final = Mood(dies_young=0.9)
BRIEF: Final = Mood(leaves=1.0, leaves_unseen=0.3)


@dataclass(frozen=True, slots=True)
class Habits:
    """What one spirit is going to do."""

    boot: float = 0.0  # seconds from its fork until it is ready
    dies_after: float = FOREVER  # seconds from its fork
    hangs_after: float = FOREVER  # seconds from ready; likewise below
    leaves_after: float = FOREVER
    wears_after: float = FOREVER
    period: float = FOREVER  # a beat every so many seconds, or up to twice as often
    finish: float = 0.0  # seconds from the request to quit to its end
    busy: float = 0.0  # the chance at a beat to ask not to be judged for a while
    busy_most: float = 0.0  # then for so many seconds at most
    lies: bool = False


class Spirit(Process):
    """One spirit: its cell on the board, and its program."""

    __slots__ = (
        "beat",
        "busy_until",
        "forked_at",
        "habits",
        "hung",
        "kernel",
        "liar",
        "random",
        "ring",
        "spirit",
        "state",
        "struck",
        "told",
        "told_worn",
        "worn",
    )

    def __init__(
        self, spirit: SpiritId, habits: Habits, kernel: Kernel, random: Random, ring: Callable[["Spirit"], None]
    ) -> None:
        super().__init__()
        self.spirit = spirit
        self.habits = habits
        self.kernel = kernel
        self.random = random
        self.ring = ring
        # its cell on the board
        self.state = State.BOOTING
        self.beat = 0.0
        self.busy_until = 0.0
        self.worn = False
        # the truth
        self.forked_at = kernel.now
        self.told = State.BOOTING  # what the manager has seen of ``state``
        self.told_worn = False  # and of ``worn``
        self.hung = False
        self.liar = False
        self.struck = False  # somebody else than its manager has killed or stopped it

    # ── what it can do; a test may call these itself ──
    def say_ready(self) -> None:
        """It can work: the first beat."""
        if self.state is State.BOOTING:
            self.state = State.READY
            self.beat = self.kernel.now
            self.ring(self)

    def say_alive(self) -> None:
        """A beat."""
        self.beat = self.kernel.now

    def say_leaving(self) -> None:
        """It finishes what it has in hand and leaves."""
        if self.state is not State.LEAVING:
            self.state = State.LEAVING
            self.ring(self)

    def say_worn(self) -> None:
        """It has done its share."""
        if not self.worn:
            self.worn = True
            self.ring(self)

    def say_busy(self, seconds: float) -> None:
        """It asks not to be judged for so long."""
        self.busy_until = self.kernel.now + seconds

    def hang(self) -> None:
        """It does nothing any more."""
        self.hung = True

    def die(self, exit_: Exit) -> None:
        """It ends."""
        self.kernel.end(self, exit_)

    def quit(self) -> None:
        """It was asked to quit."""
        if self.hung or self.habits.finish == FOREVER:
            return
        if self.state is not State.BOOTING:
            self.say_leaving()
        self.kernel.after(self.habits.finish, lambda: self.die(Exit(code=0)), self)

    # ── its program ──
    def live(self) -> None:
        """Begin: called once, at the fork."""
        habits, after = self.habits, self.kernel.after
        if habits.boot < FOREVER:
            after(habits.boot, self._booted, self)
        if habits.dies_after < FOREVER:
            after(habits.dies_after, self._crash, self)

    def _booted(self) -> None:
        if self.hung:
            return
        habits, after = self.habits, self.kernel.after
        self.say_ready()
        if habits.period < FOREVER:
            after(habits.period * self.random.random(), self._tick, self)
        if habits.hangs_after < FOREVER:
            after(habits.hangs_after, self.hang, self)
        if habits.leaves_after < FOREVER:
            after(habits.leaves_after, self._leave, self)
        if habits.wears_after < FOREVER:
            after(habits.wears_after, self._wear, self)

    def _tick(self) -> None:
        if self.hung:
            return
        kernel, habits = self.kernel, self.habits
        self.beat = now = kernel.now
        wait = habits.period * (1.0 - 0.5 * self.random.random())
        if habits.busy and self.random.random() < habits.busy:
            self.say_busy(habits.busy_most * self.random.random())
            wait = max(wait, (self.busy_until - now) * 0.99)
        if habits.lies:
            self._lie()
        kernel.after(wait, self._tick, self)

    def _lie(self) -> None:
        """Write anything into its cell."""
        self.liar = True
        self.beat = self.random.choice((0.0, self.kernel.now * 2.0, _FAR_FUTURE, self.beat))
        self.busy_until = self.random.choice((0.0, _FAR_FUTURE, self.kernel.now + 1.0))

    def _wear(self) -> None:
        if not self.hung:
            self.say_worn()

    def _leave(self) -> None:
        if not self.hung and self.state is not State.LEAVING:
            self.say_leaving()
            self.kernel.after(min(self.habits.finish, 1e6), lambda: self.die(Exit(code=0)), self)

    def _crash(self) -> None:
        if self.random.random() < 0.5:
            self.die(Exit(code=int(self.random.random() * 256)))
        else:
            self.die(Exit(signal=_SIGSEGV, dumped_core=True))


def draw_habits(random: Random, mood: Mood, policy: Policy) -> Habits:
    """Roll the dice for one spirit."""
    roll = random.random
    boot = 0.02 + 0.1 * roll()
    dies_after = hangs_after = leaves_after = wears_after = FOREVER
    life = policy.silence * 20.0  # the scale of what happens in the middle of a life
    if mood.never_ready and roll() < mood.never_ready:
        boot = FOREVER
    elif mood.boots_slowly and roll() < mood.boots_slowly:
        boot = policy.boot_timeout * (0.9 + 0.2 * roll())
    if mood.dies_booting and roll() < mood.dies_booting:
        dies_after = min(boot, 1.0) * roll()
    elif mood.dies_young and roll() < mood.dies_young:
        dies_after = boot + policy.young * roll() if boot < FOREVER else 1.0
    elif mood.dies and roll() < mood.dies:
        dies_after = life * roll() * 2.0
    if mood.hangs and roll() < mood.hangs:
        hangs_after = life * roll()
    if mood.leaves and roll() < mood.leaves:
        leaves_after = life * roll() * roll()
        if mood.leaves_unseen and roll() < mood.leaves_unseen:
            leaves_after = 0.0
    if mood.wears and roll() < mood.wears:
        wears_after = life * roll() * roll()
    finish = (
        policy.graceful_timeout * 1.5 * roll()
        if mood.finishes_slowly and roll() < mood.finishes_slowly
        else 0.2 * roll()
    )
    return Habits(
        boot=boot,
        dies_after=dies_after,
        hangs_after=hangs_after,
        leaves_after=leaves_after,
        wears_after=wears_after,
        period=policy.silence * (0.2 + 0.79 * roll()),
        finish=FOREVER if mood.ignores_quit and roll() < mood.ignores_quit else finish,
        busy=mood.is_busy * 0.5 if mood.is_busy and roll() < mood.is_busy else 0.0,
        busy_most=policy.silence * 4.0,
        lies=bool(mood.lies) and roll() < mood.lies,
    )
