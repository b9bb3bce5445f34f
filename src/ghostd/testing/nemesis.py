"""Who makes trouble: an operator with many wishes, and a machine with many faults. Both roll the world's dice.

Rule: a new fault is a line of ``Nemesis`` and a knob of ``Kernel``, ``Weather`` or ``Mood``.
"""

import math
import signal
from random import Random
from typing import TYPE_CHECKING, Final

from ghostd.core import events as fact
from ghostd.core.phases import Generation, SpiritId
from ghostd.core.policy import Policy
from ghostd.testing.kernel import FOREVER, Kernel
from ghostd.testing.manager import Manager, Weather
from ghostd.testing.requests import Listener, Server
from ghostd.testing.spirits import (
    BAD,
    BRIEF,
    BROKEN,
    CRASHY,
    FAIR,
    SOUND,
    STUCK,
    Habits,
    Mood,
    Spirit,
    draw_habits,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_MOODS: Final = (FAIR, FAIR, FAIR, FAIR, FAIR, FAIR, FAIR, SOUND, SOUND, BAD, BAD, CRASHY, BROKEN, STUCK, BRIEF)
_LATER_MOODS: Final = (FAIR, FAIR, FAIR, FAIR, SOUND, BAD, BAD, CRASHY, CRASHY, BROKEN, STUCK, BRIEF)


def draw_policy(random: Random) -> Policy:
    """Any policy that a user may choose, the usual ones more often."""
    if random.random() < 0.2:
        return Policy(spirits=_draw_number(random), jitter_seed=int(random.random() * 1000))

    def seconds(most: float, chance_of_none: float = 0.05) -> float:
        return 0.0 if random.random() < chance_of_none else round(most ** random.random() * random.random(), 3)

    return Policy(
        spirits=_draw_number(random),
        spare=random.choice((0, 1, 1, 2, 2, 3, 8)),
        heartbeat_interval=0.1 + seconds(10.0),
        heartbeat_timeout=seconds(60.0) + 0.4,
        boot_timeout=0.2 + seconds(200.0),
        graceful_timeout=seconds(200.0),
        silent_timeout=seconds(20.0),
        kill_timeout=seconds(10.0),
        young=seconds(3.0, 0.1),
        backoff_first=0.001 + seconds(1.0),
        backoff_most=0.1 + seconds(10.0),
        intensity=random.choice((1, 2, 5, 20)),
        intensity_period=0.1 + seconds(100.0),
        max_lifetime=0.0 if random.random() < 0.7 else 1.0 + seconds(500.0),
        recycle_jitter=random.choice((0.0, 0.2, 1.0)),
        drain_delay=0.0 if random.random() < 0.5 else seconds(20.0),
        give_up_after=0.0 if random.random() < 0.8 else 0.5 + seconds(60.0),
        jitter_seed=int(random.random() * 1000),
    )


def _draw_number(random: Random) -> int:
    roll = random.random()
    if roll < 0.85:
        return 1 + int(random.random() * 5)
    return 0 if roll < 0.88 else int(random.random() * 16)


class Nemesis:
    """Makes trouble for one pool until it is told to stop."""

    def __init__(self, policy: Policy, kernel: Kernel, manager: Manager, random: Random) -> None:
        self.policy = policy
        self.kernel = kernel
        self.manager = manager
        self.random = random
        self.calm = False
        self.scale = policy.silence + 1.0  # seconds: how long things take here
        self._moods: dict[Generation, Mood] = {}
        self._broken_until = 0.0  # what every spirit needs is missing until then
        roll = random.random
        self._trouble = 0.0 if roll() < 0.1 else self.scale * 10.0 ** (1.5 * roll() - 0.5)  # between two faults
        self._wishes = 0.0 if roll() < 0.1 else self.scale * 10.0 ** (2.0 * roll() - 0.5)  # between two wishes
        self.listener = Listener(kernel, manager, Random(kernel.now))  # dice of their own: another client, same faults
        self.make_server: type[Server] = Server
        manager.make_spirit = self.make_spirit
        kernel.death_delay = self._death_delay
        kernel.notice_delay = self._notice_delay
        self._undying = 0.0 if roll() < 0.5 else 0.1 * roll()
        if roll() < 0.7:
            manager.weather = self._draw_weather()
        self._faults: Final[tuple[Callable[[], None], ...]] = (
            self._freeze, self._freeze, self._refuse_forks, self._kill_one, self._kill_all, self._stop_one,
            self._stop_all, self._ask_one, self._deafen_one, self._break_things,
        )  # fmt: skip
        self._demands: Final[tuple[Callable[[], None], ...]] = (
            self._reload, self._reload, self._reload, self._scale_by, self._scale_by, self._scale_to,
        )  # fmt: skip
        if self._trouble:
            kernel.after(self._trouble * roll(), self._make_trouble)
        if self._wishes:
            kernel.after(self._wishes * roll(), self._wish)

    def make_peace(self) -> None:
        """No fault and no wish from now on; what hangs or cannot die stays so."""
        self.calm = True
        self.listener.close()
        kernel = self.kernel
        kernel.fork_refusals, kernel.fork_refused_until = 0, 0.0
        self.manager.weather = Weather()
        self.manager.note("the faults stop")

    def stop(self, *, gracefully: bool) -> None:
        """The operator wants an end."""
        self.manager.command(fact.StopAsked(gracefully, self.kernel.now))

    def make_spirit(self, spirit: SpiritId, generation: Generation) -> Spirit:
        """A spirit as good as its generation's code, and as what that needs."""
        habits, ring = self._habits(generation), self.manager.ring
        return self.make_server(spirit, habits, self.kernel, self.random, ring, self.listener)

    def _habits(self, generation: Generation) -> Habits:
        if self.calm:
            return draw_habits(self.random, SOUND, self.policy)
        mood = self._moods.get(generation)
        if mood is None:
            moods = _FIRST_MOODS if generation == 1 else _LATER_MOODS
            self._moods[generation] = mood = self.random.choice(moods)
        return draw_habits(self.random, BROKEN if self.kernel.now < self._broken_until else mood, self.policy)

    # ── the machine ──
    def _draw_weather(self) -> Weather:
        roll = self.random.random

        def sometimes(chance: float) -> float:
            return roll() * chance if roll() < 0.5 else 0.0

        return Weather(
            latency=0.0002 if roll() < 0.5 else 0.04 * roll(),
            slow=sometimes(0.05),
            slowness=3.0 * roll() * roll(),
            stall=sometimes(0.02),
            stall_most=self.scale * 2.0 * roll(),
            early=sometimes(0.1),
            again=sometimes(0.1),
            reads=sometimes(0.3),
            doorbell_lost=sometimes(0.3),
            doorbell_late=sometimes(0.3),
        )

    def _death_delay(self) -> float:
        roll = self.random.random
        if self.calm or roll() >= self._undying:
            return 0.002 * roll()
        kind = roll()
        if kind < 0.8:
            return 2.0 * roll() * (self.policy.kill_timeout + 0.5)
        return self.scale * 20.0 * roll() if kind < 0.95 else FOREVER

    def _notice_delay(self) -> float:
        return 0.0 if self.calm or self.random.random() < 0.95 else self.random.random()

    def _make_trouble(self) -> None:
        if not self.calm:
            self.random.choice(self._faults)()
            self.kernel.after(-self._trouble * math.log(1.0 - self.random.random()), self._make_trouble)

    def _freeze(self) -> None:
        roll = self.random.random
        seconds = self.scale * 3.0 * roll() ** 3 + 0.001
        self.manager.freeze(seconds, all_of_it=roll() < 0.6, tells=roll() < 0.5)

    def _refuse_forks(self) -> None:
        roll = self.random.random()
        if roll < 0.5:
            self.kernel.fork_refusals = 1 + int(roll * 10)
        else:
            self.kernel.fork_refused_until = self.kernel.now + self.scale * 3.0 * self.random.random()

    def _anybody(self) -> Spirit | None:
        living = list(self.manager.spirits.values())
        return self.random.choice(living) if living else None

    def _kill_one(self) -> None:
        spirit = self._anybody()
        if spirit is not None:
            self._strike(spirit, signal.SIGKILL)

    def _kill_all(self) -> None:
        for spirit in list(self.manager.spirits.values()):
            self._strike(spirit, signal.SIGKILL)

    def _strike(self, spirit: Spirit, signum: int) -> None:
        spirit.struck = True
        self.kernel.send(spirit, signum)

    def _stop_one(self) -> None:
        spirit = self._anybody()
        if spirit is not None:
            self._stop_for_a_while(spirit)

    def _stop_all(self) -> None:
        for spirit in list(self.manager.spirits.values()):
            self._stop_for_a_while(spirit)

    def _stop_for_a_while(self, spirit: Spirit) -> None:
        self._strike(spirit, signal.SIGSTOP)
        if self.random.random() < 0.7:
            wait = self.scale * 1.5 * self.random.random()
            self.kernel.after(wait, lambda: self.kernel.send(spirit, signal.SIGCONT))

    def _ask_one(self) -> None:
        spirit = self._anybody()
        if spirit is not None:
            self.kernel.send(spirit, signal.SIGQUIT)

    def _deafen_one(self) -> None:
        """It waits for a disk that does not answer: does nothing, and does not die."""
        spirit = self._anybody()
        if spirit is not None and spirit.exists:
            spirit.hang()
            spirit.deaf_until = FOREVER if self.random.random() < 0.2 else self.kernel.now + self.scale * 3.0

    def _break_things(self) -> None:
        self._broken_until = self.kernel.now + self.scale * 4.0 * self.random.random()

    # ── the operator ──
    def _wish(self) -> None:
        if not self.calm:
            self.random.choice(self._demands)()
            self.kernel.after(-self._wishes * math.log(1.0 - self.random.random()), self._wish)

    def _reload(self) -> None:
        for _ in range(1 + int(self.random.random() ** 4 * 8)):
            self.manager.command(fact.ReloadAsked(self.kernel.now))

    def _scale_by(self) -> None:
        self.manager.command(fact.ScaleAsked(self.kernel.now, by=self.random.choice((-2, -1, -1, 1, 1, 2))))

    def _scale_to(self) -> None:
        to = int(self.random.random() ** 2 * 10) - (self.random.random() < 0.02)
        self.manager.command(fact.ScaleAsked(self.kernel.now, to=to))
