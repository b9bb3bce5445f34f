"""Class Prefork: a ghost that keeps a pool of spirits. Wires core, engine and spirit together, and decides nothing.

The manager runs ``startup``, which is the pool's whole life. In a spirit ``spirit`` is the body; it returns when
``tick`` says so.
"""

from __future__ import annotations

import gc
import os
from contextlib import AbstractContextManager, nullcontext

from ghostd.core.actions import Announce, News, Spawn
from ghostd.core.events import ReloadAsked, ScaleAsked
from ghostd.daemon.herald import tidings_of
from ghostd.engine import verdict
from ghostd.engine.clock import now
from ghostd.engine.household import Household, Setup
from ghostd.errors import OptionError, ThreadedForkError, UserError
from ghostd.ghost import Ghost
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import title
from ghostd.linux.procfs import thread_count
from ghostd.log import failure
from ghostd.spirit import arguments, birth, runners, wear
from ghostd.spirit.context import Context

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection
    from typing import NoReturn, TypeVar

    from ghostd.core.snapshot import Snapshot
    from ghostd.daemon.herald import Tidings
    from ghostd.engine.launch import Birth
    from ghostd.exits import Exit
    from ghostd.linux.inbox import Inbox
    from ghostd.serve.door import Door

    Body = Callable[..., object]
    T = TypeVar("T")


class Prefork(Ghost):
    """A daemon with a pool of pre-forked processes, the spirits.

    Override :meth:`spirit`, or hand over a function: ``Prefork(spirit=work)``. A function may take the ghost as its one
    argument; one that takes none is ready when it begins, is never found silent, and is ended by SystemExit when it is
    asked to leave. A coroutine function runs in an event loop that beats by itself.

    Or define ``connection(self, sock, address)`` or ``async connection(self, reader, writer)``, and say ``listen``.

    Options: all of :class:`Ghost`, the pool's (docs/reference/options.md) and ``spirit``. Raises OptionError, naming
    option, value and what is allowed, before anything forks. Ancestor: Acme::Ghost::Prefork.
    """

    _is_up_at_startup = False  # but when the pool is whole
    connection: Callable[..., object] | None = None  # a method: the answer to one connection
    use_pidfd = True  # where the kernel has them; False is for testing the way without

    def __init__(self, spirit: Body | None = None, **options: object) -> None:
        self._work = spirit
        self._household: Household | None = None
        self._context: Context | None = None
        self._order: Spawn | None = None
        self._is_deaf = self._check_work()
        super().__init__(**options)
        if self.config.spirit.event_loop == "uvloop":
            self._loop_factory()  # or the error that it is not installed, before anything forks
        if self.connection is not None and self._work is None and not self.config.serve.listen:
            raise OptionError("option listen: nothing is said; connection() needs an address, as in 127.0.0.1:8080")

    # ── for the code of a spirit ──
    def spirit(self) -> object:
        """The body of a spirit: override it. It loops ``while self.tick()`` and returns; what it raises is logged."""
        if self._work is None:
            if self.connection is not None:
                return self._answer_all(self.connection)
            raise OptionError("option spirit: nothing to run: override spirit() or give Prefork(spirit=function)")
        return self._work() if self._is_deaf else self._work(self)

    def tick(self, finished: bool = False) -> bool:  # noqa: FBT001, FBT002  as the ancestor has it
        """A heartbeat: true while the work is to go on, false once this spirit was asked to leave.

        ``finished=True`` says "I shall leave": the replacement is made at once. The first tick says that the spirit is
        ready. A store in shared memory: no system call but the first time, cannot block, may be called from any thread.
        """
        return self._context.tick(finished) if self._context is not None else self.ok

    def ready(self) -> None:
        """Say that this spirit can work, before its first tick."""
        if self._context is not None:
            self._context.ready()

    def worn(self) -> None:
        """Say that this spirit has done its share. It works on until a new one is ready, and is then asked to leave."""
        if self._context is not None:
            self._context.worn()

    def busy(self, seconds: float) -> AbstractContextManager[None]:
        """In this block the spirit is not found silent for so many seconds, whether it ticks or not."""
        return nullcontext() if self._context is None else self._context.busy(seconds)

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets of the option listen, in its order. All spirits share them; they do not block, and must not."""
        return self._door.sockets

    @property
    def stopping(self) -> bool:
        """Whether this spirit was asked to leave, or has said that it will; in the manager: whether the ghost stops."""
        return not self.ok

    async def wait_stopping(self) -> None:
        """Wait, in a coroutine spirit, until it is asked to leave."""
        if self._context is not None:
            await self._context.notice.wait()

    async def ticks(self, every: float = 1.0) -> AsyncIterator[None]:
        """Tick, yield, wait ``every`` seconds, and so on until the spirit is asked to leave, which ends the wait."""
        while self.tick():
            yield
            if self._context is not None:
                await self._context.notice.wait(every)

    async def until_stopping(self, work: Awaitable[T]) -> T | None:
        """Await this in a coroutine spirit: its result, or None if the spirit is asked to leave before.

        None, too, at once for work that is begun later, unless it can be done without waiting; so a loop
        ``while line := await self.until_stopping(reader.readline())`` takes what has come, and ends.
        """
        return await work if self._context is None else await self._context.notice.unless(work)

    @property
    def seat(self) -> int | None:
        """The seat of this spirit, 0 to N-1 in a calm pool; None outside of a spirit."""
        return None if self._order is None else self._order.seat

    @property
    def serial(self) -> int | None:
        """The number of this spirit, never used again; None outside of a spirit."""
        return None if self._order is None else self._order.spirit

    @property
    def generation(self) -> int | None:
        """The generation of this spirit, in the manager the one wanted now; None elsewhere."""
        if self._order is not None:
            return self._order.generation
        return None if self._household is None else self.snapshot.generation

    @property
    def is_spirited(self) -> bool:
        """Whether this process is a spirit."""
        return self._order is not None

    # ── for the code of the manager ──
    @property
    def ok(self) -> bool:
        """True from start until a stop is asked; in a spirit, until it is asked to leave."""
        if self._context is not None:
            return not self._context.is_leaving
        return super().ok if self._household is None else self._ok  # a pool's own loop serves the signals

    @property
    def healthy(self) -> int:
        """How many spirits are ready, beating and not leaving. 0 outside of the manager."""
        return 0 if self._household is None else self.snapshot.ready

    @property
    def snapshot(self) -> Snapshot:
        """A frozen view of the pool, in the manager. RuntimeError elsewhere."""
        if self._household is None:
            raise RuntimeError("snapshot: this process is not a manager with a running pool")
        return self._household.snapshot()

    def scale(self, spirits: int) -> None:
        """In a hook: want so many spirits from now on."""
        if self._household is not None:
            self._household.manager.post(ScaleAsked(now(), to=spirits))

    def renew(self) -> None:
        """In a hook: begin a rolling reload. What HUP does."""
        if self._household is not None:
            self._household.manager.post(ReloadAsked(now()))

    # ── hooks beside those of Ghost ──
    def spawn(self, pid: int) -> None:
        """In the manager, after a spirit was forked."""

    def waitup(self) -> None:
        """In the manager, before it waits; at least once every heartbeat_interval when overridden."""

    def heartbeat(self, pid: int) -> None:
        """In the manager, when a beat of the spirit was seen; at most once every heartbeat_interval and spirit."""

    def reap(self, pid: int, status: Exit | None = None) -> None:
        """In the manager, after a spirit has ended. An override may take the pid alone, as the ancestor's."""

    def finish(self, graceful: bool) -> None:  # noqa: FBT001  as the ancestor has it
        """In the manager, once at shutdown, and once more if a graceful one turns into an immediate one."""

    def hangup(self) -> None:
        """On HUP: the rolling reload."""
        self.renew()

    def tidings(self) -> Tidings:
        """How the pool is, for the init system and for probes."""
        if self._household is None:
            return super().tidings()
        return tidings_of(self._household.manager.pool, now(), self._reloads)

    # ── the pool's life ──
    def daemonize(self) -> int:
        """As of :class:`Ghost`. What is there by now is frozen before the fork, so that no collection copies it."""
        if not self.config.spirit.freeze or gc.get_freeze_count():
            return super().daemonize()
        gc.freeze()  # garbage and all: to collect it first takes longer than to fork, and after the fork twice as long
        pid = None
        try:
            pid = super().daemonize()
        finally:
            if pid != 0:
                gc.unfreeze()  # the starter goes on as it was
        return pid

    def startup(self) -> None:
        """Run the pool until it halts. An override that wants more calls this one in the middle."""
        if thread_count() > 1 and self.config.spirit.fork_beside_threads == "refuse":
            raise ThreadedForkError(
                f"the manager has {thread_count()} threads before its first fork: a spirit could inherit a locked lock "
                "and hang. Start threads in spirit(), or set fork_beside_threads to warn"
            )
        if self.connection is not None and self._work is None:
            self._preload(self.connection)
        if self.config.spirit.freeze:  # a heap that the spirits' collectors do not touch, and that so stays shared
            gc.collect()
            gc.freeze()
        if self._inbox is None or not self.ok:
            return  # asked to stop before there was a pool
        self.log.write("info", f"Manager {os.getpid()} started")
        with Household(self._setup(self._inbox)) as household:
            self._household = household
            try:
                household.manager.run()
            finally:
                self._household = None
        verdict.raise_if_bad(household.performer)

    def _setup(self, inbox: Inbox) -> Setup:
        wants_news = type(self).heartbeat is not Prefork.heartbeat or type(self).waitup is not Prefork.waitup
        warn = self.config.spirit.fork_beside_threads == "warn"
        return Setup(
            policy=self.config.policy,
            log=self.log,
            hooks=_Hooks(self, self._door, self._herald.release),
            duties=self,
            inbox=inbox,
            birth=self._birth,
            foreground=not self.is_daemonized,
            pulse=self.config.policy.heartbeat_interval if wants_news else None,
            warn_of_threads=(lambda text: self.log.write("warn", text)) if warn else None,
            use_pidfd=self.use_pidfd,
            settle=self.config.spirit.settle,
            gate=self._door.gate,
            unshared={0, 1, 2, *self.private_descriptors(), *self.log.descriptors()},
            has_echo=self.is_daemonized and self.log.fileno() is None,
        )

    def _birth(self, household: Household) -> Birth:
        """What each newborn is. It is made here, before the first fork: in a newborn it would cost page faults."""
        context = Context(household.board.cradle, household.bell.ringing())
        live, report, show, attributes = self._life(context), self._report, title.setter(), vars(self)
        name, tick, shadow = self.name, context.tick, type(self).tick is Prefork.tick
        run, leave = runners.run, birth.leave
        enter = self._door.entering(context)
        tiring = wear.tiring(context, self.config.spirit, household.policy)
        be_born: Callable[[int], None]
        log: tuple[int, ...] | None = None
        has_lost = False

        def begin(order: Spawn) -> None:
            self._household, self._order, self._context = None, order, context
            own_tick = tick if tiring is None else tiring(order.spirit)
            if shadow:
                attributes["tick"] = own_tick  # without the detour over the method: a beat is cheap
            if enter is not None:
                enter(order.seat)
            be_born(order.seat)
            if has_lost:
                self.log.after_fork()
            show(f"{name}: spirit {order.seat}")
            live()

        def be_spirit(order: Spawn) -> NoReturn:
            leave(run(begin, report, order))

        def prepare() -> Callable[[Spawn], NoReturn]:
            nonlocal log, be_born, has_lost
            has_lost = self.log.dropped > 0
            if log != (found := self.log.descriptors()):
                log = found
                be_born = birth.lay_out(self._inheritance(household, context, log))
            return be_spirit

        return prepare

    def _inheritance(self, household: Household, context: Context, log: Collection[int]) -> birth.Inheritance:
        keep = household.inherited - self.private_descriptors()
        return birth.Inheritance(
            manager=household.pid,
            board=household.board,
            life=household.life,
            signals=household.caught,
            unblock=household.unblock,
            keep=(*keep, *log, 0, 1, 2, household.bell.ring_fileno()),
            stdio=None if household.echo is None else household.echo.writer,
            nofile=household.nofile,
            on_quit=context.leave,
        )

    def _life(self, context: Context) -> Callable[[], None]:
        deaf, interval = self._is_deaf and type(self).spirit is Prefork.spirit, self.config.policy.heartbeat_interval
        return runners.living(self.spirit, context, interval, self._loop_factory, deaf=deaf)

    def _preload(self, connection: Body) -> None:
        from ghostd.serve import stream  # noqa: PLC0415  for those who answer streams
        from ghostd.spirit import speaker  # noqa: F401, PLC0415  likewise

        stream.preload(connection, self.config.serve)

    def _answer_all(self, connection: Body) -> object:
        from ghostd.serve import stream  # noqa: PLC0415  loaded by the manager
        from ghostd.serve.manners import Manners  # noqa: PLC0415
        from ghostd.spirit.speaker import Speaker  # noqa: PLC0415

        assert self._context is not None, "a spirit has a voice"
        manners = Manners.of(self.config.policy, self.config.serve)
        return stream.serve(connection, self.sockets, Speaker(self._context, self.log), manners)

    def _loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        from ghostd.integrations import uvloop  # noqa: PLC0415  in the spirit, and for coroutines only

        return uvloop.factory(self.config.spirit.event_loop)

    def _report(self, error: BaseException) -> None:
        if isinstance(error, UserError):  # it says by itself what has to be mended
            text = str(error)
            for line in f"Spirit {os.getpid()} failed: {text}".splitlines():
                self.log.write("error", line)
        else:
            text = "\n".join(failure.told(error))
            self.log.exception(f"Spirit {os.getpid()} failed", error)
        if self._context is not None:
            self._context.leave_text(text)

    def _check_work(self) -> bool:
        """That there is something to run, before anything forks; whether it cannot take the ghost."""
        if self._work is None:
            if type(self).spirit is Prefork.spirit and self.connection is None:
                raise OptionError(
                    f"option spirit: {type(self).__name__} has nothing to run: override spirit(), or give a function"
                )
            return False
        if callable(self._work):
            if arguments.fit(self._work, self):
                return False
            if arguments.fit(self._work):
                return True
        raise OptionError(
            f"option spirit: {self._work!r} is not allowed; it takes a function of one argument, the ghost, or of none"
        )


class _Hooks:
    """The user's hooks, as the performer calls them, with whoever waits for the pool to be whole."""

    def __init__(self, ghost: Prefork, door: Door, release: Callable[[], None]) -> None:
        self._ghost = ghost
        self._door = door
        self._release = release
        self.heartbeat = ghost.heartbeat
        self.waitup = ghost.waitup
        self.spawn = ghost.spawn
        self._reap_takes_status = arguments.fit(ghost.reap, 0, None)

    def reap(self, pid: int, exit: Exit) -> None:  # noqa: A002
        self._ghost.reap(*((pid, exit) if self._reap_takes_status else (pid,)))

    def finish(self, graceful: bool) -> None:  # noqa: FBT001
        if graceful:
            self._door.shut(self._release)  # what has come in already is still accepted
        self._ghost.stop_asked(interrupted=not graceful)
        self._ghost.finish(graceful)

    def news(self, news: Announce) -> None:
        if news.news is News.WHOLE:
            self._ghost.report_up()
        elif news.news is News.DRAINING:
            self._ghost.stop_asked(interrupted=False)
