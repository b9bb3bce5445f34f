"""All that the manager of one pool opens, put together, and given back at the end."""

from __future__ import annotations

import faulthandler
import os
import signal
from contextlib import ExitStack, suppress

from ghostd.core.pool import Pool
from ghostd.engine.clock import now
from ghostd.engine.crew import Crew
from ghostd.engine.launch import ForkLauncher
from ghostd.engine.loop import Manager
from ghostd.engine.perform import STACKS_SIGNAL, Gate, Hooks, Performer, Scribe
from ghostd.engine.sources import Duties, Poller, Signals
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import fds, inbox, process
from ghostd.linux.board import Board, Doorbell
from ghostd.linux.child import unblocking_signals
from ghostd.linux.life import LifePipe
from ghostd.record import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Protocol, Self, TypeVar

    from ghostd.core.events import Event
    from ghostd.core.policy import Policy
    from ghostd.core.snapshot import Snapshot
    from ghostd.engine.echo import Echo
    from ghostd.engine.launch import Birth
    from ghostd.linux.inbox import Inbox

    class _Closes(Protocol):
        def close(self) -> None: ...

    Part = TypeVar("Part", bound=_Closes)

_DESCRIPTORS_A_SPIRIT = 2  # its pidfd, and one to spare
_DESCRIPTORS_ELSE = 256  # the user's, the log's and our own


class Setup(Frozen, kw_only=True):
    """What a household is made of."""

    policy: Policy
    log: Scribe
    hooks: Hooks
    duties: Duties
    inbox: Inbox
    birth: Callable[[Household], Birth]  # the first steps of a newborn of this household
    foreground: bool
    pulse: float | None  # seconds between calls of the hooks that want news often
    warn_of_threads: Callable[[str], None] | None  # None: refuse to fork beside a thread
    use_pidfd: bool = True
    settle: float = 0.0  # how long who cannot say that it is ready must have run to be so
    gate: Gate | None = None  # to be told of the spirits that come and go
    unshared: Collection[int] = ()  # descriptors that are ours, or that it is no news that spirits share
    has_echo: bool = False  # whether what spirits print must be carried into the log


class Household:
    """The board, the doorbell, the life pipe and the loop of one pool."""

    def __init__(self, setup: Setup) -> None:
        self._closing = ExitStack()
        self.pid = os.getpid()
        # Two ghosts with the same options do not do the same at the same moment.
        self.policy = replace(setup.policy, jitter_seed=setup.policy.jitter_seed or os.getpid())
        open_now = fds.census()
        self.inherited = set(open_now)  # the user's descriptors: spirits get these, and no others of the manager
        _warn_of_connections(setup, open_now)
        process.load()
        wanted = _DESCRIPTORS_A_SPIRIT * 2 * setup.policy.spirits + _DESCRIPTORS_ELSE
        self.nofile = fds.raise_limit(wanted)
        self._closing.callback(fds.restore_limit, self.nofile)
        self.board = self._own(Board())
        self.bell = self._own(Doorbell())
        self.life = self._own(LifePipe(signal.SIGKILL))
        poller = self._own(Poller())
        self.crew = Crew(self.board, poller, use_pidfd=setup.use_pidfd, settle=setup.settle)
        # A silent spirit can say where it stands, even inside C code: faulthandler writes from the signal handler,
        # and newborns inherit it.
        with suppress(OSError, ValueError, RuntimeError):  # no stderr: nowhere to write
            faulthandler.register(STACKS_SIGNAL, file=2, all_threads=True)
        self.caught, self.unblock = inbox.changed(), unblocking_signals()
        self.echo = self._echo(setup.log, poller) if setup.has_echo else None
        launcher = ForkLauncher(self.board, self.life, setup.birth(self), setup.warn_of_threads)
        self.performer = Performer(self.crew, launcher, setup.hooks, setup.log, setup.gate)
        signals = Signals(setup.inbox, setup.duties, self.crew.read_unwatched, foreground=setup.foreground)
        poller.watch(setup.inbox.fileno(), signals.gather)
        poller.watch(self.bell.fileno(), self._answer_bell)
        pool = Pool(self.policy, now())
        self.manager = Manager(
            pool, self.crew, self.performer, poller, setup.hooks, pulse=setup.pulse, upkeep=setup.duties.upkeep
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def snapshot(self) -> Snapshot:
        """The pool as it is now, with what the spirits have written on the board."""
        moment = now()
        return self.manager.pool.snapshot(moment, self.crew.read_board(moment).cells)

    def close(self) -> None:
        """End what still lives, which is nothing after an orderly halt, and give everything back."""
        for member in self.crew:
            member.child.end_group()
        self._closing.close()

    def _answer_bell(self, moment: float) -> Iterable[Event]:
        self.bell.drain()
        return self.crew.read_bell(moment)

    def _echo(self, log: Scribe, poller: Poller) -> Echo:
        from ghostd.engine.echo import Echo  # noqa: PLC0415  for logs without a descriptor only

        echo = self._own(Echo(log))
        poller.watch(echo.fileno(), echo.gather)
        return echo

    def _own(self, part: Part) -> Part:
        self._closing.callback(part.close)
        return part


def _warn_of_connections(setup: Setup, open_now: Mapping[int, str]) -> None:
    """Two processes that speak over one connection garble it, and a program rarely means to share one."""
    for fd in sorted(fd for fd, what in open_now.items() if what.startswith("socket:") and fd not in setup.unshared):
        peer = fds.peer_of(fd)
        if peer is not None:
            setup.log.write(
                "warn",
                f"Before the first fork descriptor {fd} is connected to {peer}: every spirit will share that "
                "connection; open it in spirit() instead",
            )
