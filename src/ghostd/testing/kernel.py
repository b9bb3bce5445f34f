"""A virtual kernel: time, processes, signals, and the ways in which a real one lets its callers down.

Rule 1: nothing in here decides anything; faults are knobs that others turn.
Rule 2: time moves only in ``step``, from one entry of the agenda to the next, so a run is repeatable.

A process is on the agenda with what it will do next. When it is stopped its entries are kept for later; when it is
doomed (was sent SIGKILL and has not ended yet, for instance in uninterruptible sleep) or has ended they are dropped.
"""

import heapq
import math
import signal
from collections.abc import Callable
from enum import Enum
from typing import Final

from ghostd.exits import Exit

FOREVER: Final = math.inf
_PIDS_FROM: Final = 300  # as on Linux; small and taken anew at once, so that a stale pid hits somebody else


class Status(Enum):
    """What the scheduler thinks of a process."""

    RUNS = "runs"
    STOPPED = "stopped"
    DOOMED = "doomed"  # will end, and does nothing until then
    ZOMBIE = "zombie"
    REAPED = "reaped"


_RUNS: Final = Status.RUNS  # at hand: a member of an Enum is slow to reach in 3.11, and this is asked at each step


class Process:
    """One process. Subclasses say what it does; this class is what the kernel does with it."""

    __slots__ = ("asked", "asked_at", "deaf_until", "exit", "pid", "stash", "status")

    def __init__(self) -> None:
        self.pid = 0
        self.status = Status.RUNS
        self.exit = Exit()
        self.deaf_until = 0.0  # SIGKILL has no effect before: uninterruptible sleep
        self.stash: list[Callable[[], None]] = []  # what it would have done while it was stopped
        self.asked = False  # SIGQUIT is pending or was taken
        self.asked_at = FOREVER  # since when

    def quit(self) -> None:
        """SIGQUIT is taken."""

    def ended(self) -> None:
        """It has come to its end, and what it held is given back."""

    @property
    def exists(self) -> bool:
        """Runs, is stopped or has not died yet."""
        return self.status is not Status.ZOMBIE and self.status is not Status.REAPED


class Kernel:
    """Time, the process table and the agenda."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.table: dict[int, Process] = {}  # unreaped, by pid
        self.ended: list[Process] = []  # zombies that the parent can see
        self.death_delay: Callable[[], float] = _at_once  # from SIGKILL to the end
        self.notice_delay: Callable[[], float] = _at_once  # from the end to the parent's notice of it
        self.on_ended: Callable[[], None] = _nobody  # SIGCHLD
        self.fork_refusals = 0  # so many forks fail from now on
        self.fork_refused_until = 0.0  # and all that come before this
        self._frozen_until = 0.0
        self._free_pids: list[int] = []
        self._agenda: list[tuple[float, int, Callable[[], None], Process | None]] = []
        self._entries = 0

    # ── time ──
    def after(self, delay: float, call: Callable[[], None], process: Process | None = None) -> None:
        """Have this done in ``delay`` seconds, by the process when there is one."""
        self._entries += 1
        at = self.now if process is None or self.now >= self._frozen_until else self._frozen_until
        heapq.heappush(self._agenda, (at + delay, self._entries, call, process))

    @property
    def next_at(self) -> float:
        """When the next entry of the agenda is due."""
        return self._agenda[0][0] if self._agenda else FOREVER

    def step(self) -> bool:
        """Do the next entry; False when it was void."""
        when, _, call, process = heapq.heappop(self._agenda)
        self.now = max(self.now, when)
        if process is not None and process.status is not _RUNS:
            if process.status is Status.STOPPED:
                process.stash.append(call)
            return False
        call()
        return True

    def freeze(self, seconds: float) -> None:
        """No process runs for so long: all that they would do is put off."""
        self._frozen_until = max(self._frozen_until, self.now + seconds)
        self._agenda = [
            (when if process is None else when + seconds, entry, call, process)
            for when, entry, call, process in self._agenda
        ]
        heapq.heapify(self._agenda)

    # ── processes ──
    def fork(self, process: Process) -> str:
        """Enter a process into the table; returns the error, or nothing."""
        if self.fork_refusals > 0 or self.now < self.fork_refused_until:
            self.fork_refusals = max(self.fork_refusals - 1, 0)
            return "fork: EAGAIN"
        process.pid = self._free_pids.pop() if self._free_pids else _PIDS_FROM + len(self.table)
        assert process.pid not in self.table, "a pid belongs to one process"
        self.table[process.pid] = process
        return ""

    def send(self, process: Process, signum: int) -> None:
        """Signal a process; without effect when it has ended."""
        if not process.exists or process.status is Status.DOOMED:
            return
        if signum == signal.SIGKILL:
            self._doom(process)
        elif signum == signal.SIGSTOP:
            process.status = Status.STOPPED
        elif signum == signal.SIGCONT:
            self._continue(process)
        elif signum == signal.SIGQUIT and not process.asked:
            process.asked, process.asked_at = True, self.now
            self.after(0.0, process.quit, process)

    def end(self, process: Process, exit_: Exit) -> None:
        """The process ends by itself."""
        process.exit = exit_
        process.status = Status.ZOMBIE
        process.stash.clear()
        process.ended()
        delay = self.notice_delay()
        if delay > 0.0:
            self.after(delay, lambda: self._show(process))
        else:
            self._show(process)

    def reap(self) -> list[Process]:
        """Take all zombies that can be seen out of the table."""
        reaped, self.ended = self.ended, []
        for process in reaped:
            process.status = Status.REAPED
            del self.table[process.pid]
            self._free_pids.append(process.pid)
        return reaped

    def _show(self, process: Process) -> None:
        self.ended.append(process)
        self.on_ended()

    def _doom(self, process: Process) -> None:
        process.status = Status.DOOMED
        delay = max(self.death_delay(), process.deaf_until - self.now)
        if delay < FOREVER:
            self.after(delay, lambda: self.end(process, Exit(signal=signal.SIGKILL)))

    def _continue(self, process: Process) -> None:
        if process.status is not Status.STOPPED:
            return
        process.status = Status.RUNS
        stash, process.stash = process.stash, []
        for call in stash:
            self.after(0.0, call, process)


def _at_once() -> float:
    return 0.0


def _nobody() -> None:
    return None
