"""A world for a pool: virtual time, a virtual kernel, spirits that misbehave, and a seed that brings it all back.

A world leads one pool after the other through a life: it boots, is scaled, reloaded, frozen, starved of processes,
killed at, and stopped. After every batch each promise of ``promises.py`` is checked. In *safety* that is all. In
*liveness* the faults stop at some moment, and within a bound worked out from the policy the pool must be whole.

Rule: all chance comes from one ``Random(seed)``, so the same seed with the same code is the same history.

    python -m ghostd.testing.world --seed 7 --steps 100000
"""

import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from ghostd.core import events as fact
from ghostd.core.phases import Phase
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.core.snapshot import State
from ghostd.testing.kernel import FOREVER, Kernel
from ghostd.testing.manager import AnyPool, Manager
from ghostd.testing.nemesis import Nemesis, draw_policy
from ghostd.testing.promises import Promise, Violation, demand
from ghostd.testing.requests import Server

UPTIME_MOST: Final = 1e6  # seconds that a machine has been up when a ghost starts, at most
_GOOD_BOOT: Final = 1.0  # seconds: more than a sound spirit takes to boot, to be noticed, and to leave


class Mode(Enum):
    """What a world is after."""

    SAFETY = "safety"
    LIVENESS = "liveness"


@dataclass(slots=True)
class Report:
    """What a world has been through."""

    steps: int = 0  # things that happened: in a spirit, in the kernel, at the operator's, or a manager's turn
    batches: int = 0  # of which a pool was told
    lives: int = 0  # pools that have ended
    requests: int = 0  # that were served
    simulated: float = 0.0  # seconds
    codes: Counter[str] = field(default_factory=Counter)  # exit codes of these pools

    def add(self, other: "Report") -> None:
        """Take in another world's report."""
        self.steps += other.steps
        self.batches += other.batches
        self.lives += other.lives
        self.requests += other.requests
        self.simulated += other.simulated
        self.codes += other.codes


class World:
    """Pools in trouble. ``run`` raises Violation when a promise is broken; see ``promises.py`` for what is promised.

    Args:
        policy: the policy of every pool in it; without one, each pool has another, drawn at random.
        seed: all chance comes from it.
        mode: whether to check at some moment that the pool recovers.
        make_pool: what makes a pool; for the tests of the checks themselves, as is
        make_server: what makes a spirit.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        seed: int = 0,
        mode: Mode = Mode.SAFETY,
        make_pool: Callable[[Policy, float], AnyPool] = Pool,
        make_server: type[Server] = Server,
    ) -> None:
        self.seed = seed
        self.mode = mode
        self._policy = policy
        self._make_pool = make_pool
        self._make_server = make_server
        self._random = Random(seed)
        self._report = Report()
        self._begin()

    def run(self, steps: int) -> Report:
        """Let so many things happen; returns what has happened in all, or raises Violation."""
        try:
            self._run(self._report.steps + steps)
        except Violation as violation:
            violation.place = f"seed {self.seed}, step {self._report.steps}, {self.mode.value}: "
            violation.events = [_line(at, what) for at, what in self.manager.history]
            raise
        return self._report

    def _run(self, until: int) -> None:
        report = self._report
        while report.steps < until:
            kernel, manager = self.kernel, self.manager
            began, batches, served = kernel.now, manager.batches, self.nemesis.listener.served
            while report.steps < until and manager.halted is None:
                at, wake_at = kernel.next_at, manager.wake_at
                if at <= wake_at:
                    demand(at < FOREVER, Promise.STOP_BOUND, "nothing will ever happen again")
                    report.steps += kernel.step()
                else:
                    kernel.now = wake_at
                    report.steps += 1
                    manager.turn()
            report.simulated += kernel.now - began
            report.batches += manager.batches - batches
            report.requests += self.nemesis.listener.served - served
            if manager.halted is not None:
                self.nemesis.listener.account()
                report.lives += 1
                report.codes[manager.halted.code.name] += 1
                self._begin()

    # ── a life ──
    def _begin(self) -> None:
        random = self._random
        policy = self._policy if self._policy is not None else draw_policy(random)
        self.kernel = Kernel(random.random() * UPTIME_MOST)
        self.manager = Manager(policy, self.kernel, random, self._make_pool)
        self.nemesis = Nemesis(policy, self.kernel, self.manager, random)
        self.nemesis.make_server = self._make_server
        length = self.nemesis.scale * 10.0 ** (3.2 * random.random() - 1.5)
        self.kernel.after(length, self._judge_soon if self.mode is Mode.LIVENESS else self._end)

    def _end(self) -> None:
        """The operator asks for the end, perhaps more than once and in more than one way."""
        random, nemesis = self._random, self.nemesis
        gracefully = random.random() < 0.6
        nemesis.stop(gracefully=gracefully)
        while random.random() < 0.3:
            gracefully = random.random() < 0.5
            delay = random.random() ** 2 * self.manager.policy.graceful_timeout
            self.kernel.after(delay, lambda gracefully=gracefully: nemesis.stop(gracefully=gracefully))  # type: ignore[misc]

    def _judge_soon(self) -> None:
        self.nemesis.make_peace()
        self.kernel.after(self._bound() + self.nemesis.listener.rest, self._judge)

    def _judge(self) -> None:
        manager = self.manager
        snapshot = manager.pool.snapshot(self.kernel.now)
        there = [(view.phase, view.generation) for view in snapshot.spirits if view.phase is not Phase.LOST]
        whole = snapshot.state is State.WHOLE and there == [(Phase.READY, snapshot.generation)] * snapshot.wanted
        if manager.policy.max_lifetime:  # somebody may be under way at any time
            there = [one for one in there if one != (Phase.READY, snapshot.generation)]
            whole = snapshot.ready >= snapshot.wanted - (manager.policy.spare == 0) and len(there) <= 2
        demand(whole, Promise.WHOLE, f"{snapshot} after {self._bound():.1f} s without a fault")
        waiting = self.nemesis.listener.queue if snapshot.wanted else ()
        demand(not waiting, Promise.SERVED, f"{len(waiting)} requests wait")
        lives = manager.checker.ledger.lives.values()
        worn = [one for one in lives if one.phase is Phase.READY and one.worn_at < self.kernel.now - self._rotation()]
        demand(not worn, Promise.RECYCLE, f"{worn} were not replaced")
        self._end()

    def _rotation(self) -> float:
        """Seconds within which each spirit that is worn has been replaced, one after the other."""
        policy = self.manager.policy
        leave = policy.graceful_timeout + policy.kill_timeout + _GOOD_BOOT
        return len(self.manager.checker.ledger.lives) * (leave + policy.backoff_most + _GOOD_BOOT)

    def _bound(self) -> float:
        """Seconds within which a pool that nothing more is done to must be whole.

        Every limit may have just begun; each silent spirit is found, asked and killed; then two reloads (one runs, one
        waits) go round by round, each round as long as a spirit may take to leave, once a last failed one has ended.
        """
        policy, counts = self.manager.policy, self.manager.checker.ledger
        gap = policy.silence + 1.0 + self.nemesis.scale * 3.0  # credit for the last freeze
        leave = policy.graceful_timeout + policy.kill_timeout
        found = max(policy.boot_timeout * 1.2, policy.silence * 5.0) + policy.silent_timeout + policy.kill_timeout
        living = max(len(counts.lives), self.manager.checker.wanted)
        rounds = 1 + math.ceil(living / max(policy.spare, 1))
        reload = rounds * (leave + _GOOD_BOOT) + found
        waits = 2.0 * policy.backoff_most + policy.intensity_period
        return 3.0 * gap + 2.0 * found + leave + waits + 3.0 * reload + self._rotation()


def _line(at: float, what: object) -> str:
    return f"  {at:.6f} {'the board is read' if isinstance(what, fact.BoardRead) else what}"


if __name__ == "__main__":
    from ghostd.testing.campaign import main

    sys.exit(main())
