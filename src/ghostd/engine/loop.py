"""The manager's loop: wait, gather, handle, perform. One thread, one place that blocks, no sleep.

Facts are gathered first and handled then, because handling changes what is gathered from. The next deadline is the
timeout: an idle manager does not wake to look around, but for once a minute where nothing else is due. The board is
read when the pool wants it, and to see who is idle when somebody is to go.
"""

from __future__ import annotations

import os

from ghostd.core.events import Event, ScaleAsked
from ghostd.core.phases import NEVER
from ghostd.engine.clock import now
from ghostd.engine.crew import Crew, reap_adopted
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import process

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostd.core.pool import Pool
    from ghostd.engine.perform import Hooks, Performer
    from ghostd.engine.sources import Poller

_LONGEST_WAIT = 60.0  # seconds: what the ghost has on the disk is looked after even where nothing else is due


class Manager:
    """Runs one pool to its end."""

    def __init__(
        self,
        pool: Pool,
        crew: Crew,
        performer: Performer,
        poller: Poller,
        hooks: Hooks,
        *,
        pulse: float | None = None,
        upkeep: Callable[[], float] = lambda: NEVER,
    ) -> None:
        """``pulse``: seconds between calls of the hooks that want news often; None if there are none.

        ``upkeep`` is called at the end of each turn, and when the moment that it gives has come; it never raises.
        """
        self.pool = pool
        self._crew = crew
        self._performer = performer
        self._poller = poller
        self._hooks = hooks
        self._pulse = pulse
        self._upkeep = upkeep
        self._next_upkeep = NEVER
        self._next_pulse = now() if pulse is not None else NEVER
        self._events: list[Event] = []
        self._has_spawned = False  # the first turn does not wait
        # Orphans of the whole container end here, or those of our spirits: whoever started us may have asked for them.
        self._adopts = os.getpid() == 1 or process.is_subreaper()

    def post(self, event: Event) -> None:
        """Hand in a fact from inside the process: a hook that asks for a reload, say."""
        self._events.append(event)

    def run(self) -> None:
        """Until the pool halts."""
        while self._performer.halted is None:
            self.turn()

    def turn(self) -> None:
        """One turn of the loop. The first one does not wait: the pool's first deadline is now."""
        moment = self._wait()
        batch, self._events = self._events, []
        if moment >= self._due(moment):
            batch += self._crew.read_unwatched(moment)
            batch += self._crew.read_settled(moment)  # none of which has ended
        if self.pool.wants_board(moment) or any(isinstance(event, ScaleAsked) for event in batch):
            batch.append(self._crew.read_board(moment))
        orders = self.pool.handle(batch, moment)
        self._events += self._performer.perform(orders)
        if self._has_spawned:
            self._beat_pulse(moment)
            self._next_upkeep = self._upkeep()
        self._has_spawned = True

    def _wait(self) -> float:
        """Gather what has happened, at the latest when a deadline has come: the moment up to which all was gathered."""
        if self._pulse is not None and self._has_spawned:
            self._performer.guarded(self._hooks.waitup)
        moment = now()
        due = min(self._due(moment), self._next_pulse, self._next_upkeep, moment + _LONGEST_WAIT)
        ready = self._poller.wait(0.0 if self._events else max(due - moment, 0.0))
        moment = now()
        if moment >= due:
            # Was it slept past? SIGCONT says so, but a wait whose time is over when the signal ends it does not look at
            # the descriptors any more. Nobody may be judged before this look.
            ready = self._poller.wait(0.0)
        for gather in ready:
            self._events += gather(moment)
        if self._adopts and ready:
            reap_adopted(self._crew.pids())
        return moment

    def _due(self, moment: float) -> float:
        deadline = self.pool.deadline(moment)
        return self._crew.next_settled if deadline is None else min(deadline, self._crew.next_settled)

    def _beat_pulse(self, moment: float) -> None:
        if moment < self._next_pulse or self._pulse is None:
            return
        self._next_pulse = moment + self._pulse
        for pid in self._crew.fresh_pids():
            self._performer.guarded(self._hooks.heartbeat, pid)
