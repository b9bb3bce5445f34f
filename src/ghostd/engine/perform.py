"""Performs the pool's orders: kernel, log and the user's hooks. No failure here ends the manager.

A failed fork becomes an event. An exception in a hook is logged with its traceback and counted, and the pool lives on:
this is the one module that catches everything, because it is the one that calls code which is not ours.
"""

from __future__ import annotations

import errno
import os
import signal

from ghostd.core import actions as do
from ghostd.core.events import Event, Forked, ForkFailed
from ghostd.engine import words
from ghostd.engine.clock import now
from ghostd.errors import ExitCode, SystemFault, UserError
from ghostd.hints import TYPE_CHECKING, Protocol, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from ghostd.engine.crew import Crew
    from ghostd.engine.launch import Launcher
    from ghostd.exits import Exit

    Order = TypeVar("Order", do.Ask, do.Rouse, do.Kill, do.Bury, do.Abandon)

# On this one a spirit writes all its stacks. Real-time: nobody else uses it, and it has no default use.
STACKS_SIGNAL: int = int(signal.SIGRTMIN) + 2 if hasattr(signal, "SIGRTMIN") else int(signal.SIGUSR2)


class Scribe(Protocol):
    """What writes the log."""

    def write(self, level: str, text: str, /) -> None:
        """One record. Never raises."""

    def exception(self, text: str, error: BaseException, /) -> None:
        """One record with the traceback behind it."""


class Hooks(Protocol):
    """The user's code in the manager, and whoever waits for news of the pool."""

    def spawn(self, pid: int) -> None:
        """A spirit's process was made."""

    def reap(self, pid: int, exit: Exit) -> None:  # noqa: A002
        """A spirit's process has ended."""

    def heartbeat(self, pid: int) -> None:
        """A beat of a spirit was seen."""

    def waitup(self) -> None:
        """The manager is about to wait."""

    def finish(self, graceful: bool) -> None:  # noqa: FBT001  as the ancestor has it
        """The shutdown begins."""

    def news(self, news: do.Announce) -> None:
        """The pool as a whole has something to tell."""


class Gate(Protocol):
    """What comes in from outside, where it is dealt out to the seats."""

    def prepare(self, seat: int) -> None:
        """A spirit is to be made for this seat. OSError or an error of ours when there is nothing to take from."""

    def part(self, seat: int) -> None:
        """The spirit on this seat is about to be asked to leave."""

    def vacate(self, seat: int) -> list[str]:
        """The spirit on this seat has ended, and no other has taken it: what the log is to say of it."""


class Performer:
    """Hands of the manager."""

    def __init__(self, crew: Crew, launcher: Launcher, hooks: Hooks, log: Scribe, gate: Gate | None) -> None:
        self._gate = gate
        self._crew = crew
        self._launcher = launcher
        self._hooks = hooks
        self._log = log
        self.halted: do.Halt | None = None
        self._pid = os.getpid()
        self.failed_hooks = 0
        self.last_words = ""  # of the last spirit that left any
        self.last_code: int | None = None  # what that one ended with

    def perform(self, orders: list[do.Action]) -> list[Event]:
        """Carry out the orders: what came of them. Forks first: a replacement waits for no log line and no hook."""
        outcomes = self._launch([order for order in orders if isinstance(order, do.Spawn)])
        for order in orders:
            self._perform(order)
        return outcomes

    def guarded(self, hook: Callable[..., object], *args: object) -> None:
        """Call code that is not ours: whatever it raises is logged and counted, and goes no further."""
        try:
            hook(*args)
        except BaseException as error:  # noqa: BLE001  also SystemExit and KeyboardInterrupt: a hook cannot end the pool
            self.failed_hooks += 1
            name = getattr(hook, "__name__", repr(hook))
            self._log.exception(f"Hook {name} failed (failure {self.failed_hooks}), the pool goes on", error)
        finally:
            if os.getpid() != self._pid:
                os._exit(ExitCode.FAILED)  # a child that the hook has forked and not ended: no second manager

    def _launch(self, orders: list[do.Spawn]) -> list[Event]:
        events: list[Event] = []
        if self._gate is not None:
            orders = [order for order in orders if self._has_way_in(self._gate, order, events)]
        for order, (pid, at) in zip(orders, self._launcher.launch(orders) if orders else (), strict=True):
            if isinstance(pid, int):
                self._crew.add(order, pid)
                events.append(Forked(order.spirit, at))
            else:
                events.append(ForkFailed(order.spirit, _why(pid), at))
        return events

    def _has_way_in(self, gate: Gate, order: do.Spawn, events: list[Event]) -> bool:
        try:
            gate.prepare(order.seat)
        except (OSError, SystemFault, UserError) as error:
            events.append(ForkFailed(order.spirit, _why(error), now()))
            return False
        return True

    def _perform(self, order: do.Action) -> None:
        match order:
            case do.Spawn():
                self._tell_of(order)
            case do.Ask():
                self._part(order)
                self._signal(order, signal.SIGQUIT)
                self._say(order, words.asked)
            case do.Rouse():
                # Stacks first, then the request, then let it run: one that was stopped does both at once.
                self._signal(order, STACKS_SIGNAL, signal.SIGQUIT, signal.SIGCONT)
                self._say(order, words.roused)
            case do.Kill():
                self._kill(order)
                self._say(order, words.killed)
            case do.Bury():
                self._say(order, words.buried)
                member = self._crew.bury(order.spirit)
                self._vacate(member.seat)
                if member.last_words and (order.exit.signal is None or not self.last_words):
                    self.last_words, self.last_code = member.last_words, order.exit.code
                self.guarded(self._hooks.reap, member.child.pid, order.exit)
            case do.Abandon():
                self._say(order, words.abandoned)
            case do.Announce():
                self._log.write(*words.announced(order))
                self.guarded(self._hooks.news, order)
            case do.Finish():
                self.guarded(self._hooks.finish, order.graceful)
            case do.Halt():
                self.halted = order
                if order.code is ExitCode.OK:  # else it becomes an error, and is logged as one
                    self._log.write(*words.halted(os.getpid(), order))
            case _:
                assert_never(order)

    def _tell_of(self, order: do.Spawn) -> None:
        member = self._crew.alive(order.spirit)
        if member is None:
            return  # its fork failed
        pid = member.child.pid
        self._log.write(*words.started(pid, str(member), order.generation, order.reason))
        self.guarded(self._hooks.spawn, pid)

    def _part(self, order: do.Ask) -> None:
        member = self._crew.alive(order.spirit)
        if self._gate is not None and member is not None:
            self._gate.part(member.seat)

    def _vacate(self, seat: int) -> None:
        if self._gate is not None and not self._crew.is_taken(seat):
            for text in self._gate.vacate(seat):
                self._log.write("warn", text)

    def _kill(self, order: do.Kill) -> None:
        member = self._crew.alive(order.spirit)
        if member is not None:
            member.child.end_group()
            member.child.send(signal.SIGKILL)  # also when it has not made its group yet

    def _signal(self, order: do.Ask | do.Rouse, *numbers: int) -> None:
        member = self._crew.alive(order.spirit)
        if member is None:
            return  # has ended; the pool learns of it with the next batch
        for number in numbers:
            member.child.send(number)

    def _say(self, order: Order, line: Callable[[int, str, Order], words.Line]) -> None:
        member = self._crew.get(order.spirit)
        self._log.write(*line(member.child.pid, str(member), order))


def _why(error: BaseException) -> str:
    """What the kernel said, with the name of the error."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{errno.errorcode.get(error.errno, error.errno)}: {error.strerror}"
    return str(error) or type(error).__name__
