"""A listening socket with its queue, the clients who fill it, and spirits that take requests from it.

Rule: the queue is the kernel's. Whatever becomes of a spirit, of a generation or of a reload, what waits goes on
waiting; a spirit that leaves takes no more and finishes what it has, and only its own end can drop that. Who dropped a
request is judged by what really happened, never by what the pool has ordered.
"""

import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from ghostd.core.phases import SpiritId
from ghostd.exits import Exit
from ghostd.testing.kernel import FOREVER, Kernel, Status
from ghostd.testing.promises import Promise, Violation, demand
from ghostd.testing.spirits import Habits, Spirit, State

if TYPE_CHECKING:
    from ghostd.testing.manager import Manager

BACKLOG: Final = 64  # requests that wait; one more is refused, and its client knows
AT_ONCE: Final = 3  # requests that a spirit has in hand
_SLACK: Final = 1e-6  # seconds, for rounding


@dataclass(slots=True, eq=False)
class Request:
    """One request of one client."""

    number: int
    takes: float  # seconds of work


class Listener:
    """The queue, and the books of the clients."""

    def __init__(self, kernel: Kernel, manager: "Manager", random: Random) -> None:
        self.kernel = kernel
        self.manager = manager
        self.random = random
        self.queue: deque[Request] = deque()
        self.idle: dict[Server, None] = {}  # those that wait for a request, in the order in which they came
        self.busy: dict[Server, None] = {}  # those that have any in hand
        self.came = self.served = self.dropped = self.refused = 0
        self._stalled = 0.0  # seconds that an order could be late by, before the faults stopped
        policy = manager.policy
        self._every = 0.0 if random.random() < 0.5 else policy.silence * 10.0 ** (random.random() - 0.7)
        self._longest = (policy.graceful_timeout + 1.0) * random.random()
        if self._every:
            kernel.after(self._every * random.random(), self._arrive)

    # ── clients ──
    def close(self) -> None:
        """No more of them come."""
        self._every = 0.0
        self._stalled = self.manager.weather.stall_most

    def connect(self, takes: float) -> None:
        """A client asks for something that takes so many seconds."""
        if len(self.queue) >= BACKLOG:
            self.refused += 1
            return
        self.came += 1
        self.queue.append(Request(self.came, takes))
        self.offer()

    def account(self) -> None:
        """Each request that came was answered, was dropped by an end, is in hand, or waits."""
        held = len(self.queue) + sum(len(server.hand) for server in self.busy)
        if self.served + self.dropped + held != self.came:
            raise Violation(
                Promise.QUEUE, f"{self.came} came, {self.served} served, {self.dropped} dropped, {held} held"
            )

    @property
    def rest(self) -> float:
        """Seconds of work that are left, for one spirit that does one thing at a time."""
        held = [request for server in self.busy for request in server.hand]
        return sum(request.takes for request in (*held, *self.queue))

    def _arrive(self) -> None:
        if not self._every:
            return
        roll = self.random.random
        for _ in range(1 + int(roll() ** 6 * BACKLOG)):  # now and then many at once
            self.connect(self._longest * roll() ** 4)
        self.account()
        self.kernel.after(self._every * 2.0 * roll(), self._arrive)

    # ── spirits ──
    def offer(self) -> None:
        """Wake somebody who can take what waits: the kernel wakes who can run."""
        for server in self.idle if self.queue else ():
            if server.can_take:
                del self.idle[server]
                self.kernel.after(0.0, server.take, server)
                return

    def left_by(self, server: "Server") -> None:
        """The spirit has ended: what it had in hand is lost, which must be its own fault or a stranger's."""
        self.idle.pop(server, None)
        self.busy.pop(server, None)
        hand, server.hand = server.hand, []
        self.dropped += len(hand)
        demand(
            not hand or self._may_drop(server), Promise.KEPT, f"spirit {server.spirit} dropped {hand}: {server.exit}"
        )
        self.offer()

    def _may_drop(self, server: "Server") -> bool:
        if server.exit.signal != signal.SIGKILL:
            return not server.goes or server.exit != Exit(code=0)  # crashed
        manager, now = self.manager, self.kernel.now
        endings, policy = manager.checker.endings, manager.policy
        if server.struck or server.hung or server.liar or endings.at_once or endings.is_late(manager.truth, now):
            return True
        # An order that the manager was about to carry out when it was stalled reaches the spirit late.
        stalled = max(self._stalled, manager.weather.stall_most)
        ran = manager.truth.ran(min(server.asked_at, server.left_at), now) + stalled
        return ran >= min(policy.graceful_timeout, policy.silent_timeout) - _SLACK


class Server(Spirit):
    """A spirit that takes requests from the moment it is ready until it leaves."""

    __slots__ = ("finished", "goes", "hand", "left_at", "listener")

    def __init__(
        self,
        spirit: SpiritId,
        habits: Habits,
        kernel: Kernel,
        random: Random,
        ring: Callable[[Spirit], None],
        listener: Listener,
    ) -> None:
        super().__init__(spirit, habits, kernel, random, ring)
        self.listener = listener
        self.hand: list[Request] = []
        self.goes = False  # takes no more
        self.finished = False  # and has nothing left to do but what it has in hand
        self.left_at = FOREVER

    @property
    def can_take(self) -> bool:
        """Whether it would, if it were offered something."""
        return self.status is Status.RUNS and not (self.hung or self.goes)

    def say_ready(self) -> None:
        """It can work: the first beat."""
        super().say_ready()
        self.take()

    def say_leaving(self) -> None:
        """It finishes what it has in hand and leaves."""
        self.goes = True
        self.left_at = min(self.left_at, self.kernel.now)
        super().say_leaving()

    def quit(self) -> None:
        """It was asked to quit."""
        self.goes = self.goes or not (self.hung or self.habits.finish == FOREVER)
        super().quit()

    def die(self, exit_: Exit) -> None:
        """It ends; one that leaves in order does so when its hand is empty."""
        self.finished = self.goes and exit_ == Exit(code=0)
        if not (self.finished and self.hand):
            super().die(exit_)

    def ended(self) -> None:
        """Its process has ended."""
        self.listener.left_by(self)

    # ── requests ──
    def take(self) -> None:
        """Take what waits, as much as it can have in hand, and wait for more."""
        listener, hand = self.listener, self.hand
        if self.hung or self.goes or self.state is not State.READY:
            return
        while listener.queue and len(hand) < AT_ONCE:
            request = listener.queue.popleft()
            hand.append(request)
            listener.busy[self] = None
            self.kernel.after(request.takes, lambda request=request: self._answer(request), self)  # type: ignore[misc]
        if len(hand) < AT_ONCE:
            listener.idle[self] = None
        listener.offer()

    def _tick(self) -> None:
        """With each beat it looks for what nobody was woken for: who was may have ended, with the others frozen."""
        super()._tick()
        if self.listener.queue and self in self.listener.idle:
            self.take()

    def _answer(self, request: Request) -> None:
        if self.hung:
            return
        self.hand.remove(request)
        self.listener.served += 1
        if not self.hand:
            self.listener.busy.pop(self, None)
        if not self.goes:
            self.take()
        elif self.finished and not self.hand:
            self.die(Exit(code=0))
