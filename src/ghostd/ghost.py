"""Class Ghost: a daemon with the ancestor's attributes, hooks and commands. Subclass it and write ``startup``.

The commands run in the caller; the hooks run in the daemon, one after another, never in a signal handler. Ancestor:
Acme::Ghost.
"""

from __future__ import annotations

import os
import signal
import sys

from ghostd.config import Config, class_layer, environ_layer, gather
from ghostd.daemon import detach, lsb, privileges
from ghostd.daemon.answer import answer
from ghostd.daemon.herald import RUNNING, STARTING, STOPPING, Herald, Limits, Tidings
from ghostd.daemon.notify import Notifier
from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.ready import READY_ENDING, ReadyFile
from ghostd.daemon.upkeep import Upkeep
from ghostd.engine.clock import now
from ghostd.engine.sources import MANAGER_SIGNALS, REQUEST_SIGNALS
from ghostd.errors import BootError, ExitCode, GhostdError, StartTimeoutError, UserError
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import fds
from ghostd.linux.inbox import Inbox
from ghostd.linux.title import set_title
from ghostd.log import Log, failure
from ghostd.record import replace
from ghostd.serve.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Ghost:
    """A daemon. An option may be a keyword argument, a variable GHOSTD_NAME of the environment, or a class attribute.

    Raises OptionError, naming option, value and what is allowed, before anything forks.
    """

    _is_up_at_startup = True  # else it calls report_up itself

    def __init__(self, **options: object) -> None:
        self.config: Config = gather(options, environ_layer(os.environ), class_layer(type(self)))
        settled = self.config.daemon.settled()
        self.name: str = settled.name or "ghostd"
        self.pidfile: str = settled.pidfile or f"{self.name}.pid"
        self._chdir = settled.chdir
        self._privileges = privileges.Privileges(self.config.daemon.user, self.config.daemon.group)
        self._log = Log(self.config.log, name=self.name)
        self._filepid = FilePid(self.pidfile)
        self._door = Door(self.config.serve)
        self._ok = False
        self._interrupts = 0
        self._daemonized = False
        self._inbox: Inbox | None = None
        self._reporter: detach.Reporter | None = None
        self._failure = ""
        self._ready = ReadyFile(settled.ready_file or f"{self.pidfile}{READY_ENDING}")
        self._upkeep = Upkeep(self._filepid, self._ready)
        self._tidings, self._reloads = STARTING, 0
        self._herald = Herald(self._ready, Limits.of(self.config.policy, self.config.daemon))
        self.again(**options)

    # ── properties ──
    @property
    def ok(self) -> bool:
        """True from start until a stop is asked. Looking at it also serves the signals that have come in meanwhile."""
        self._serve_signals()
        return self._ok

    @property
    def pid(self) -> int:
        """The pid of this process."""
        return os.getpid()

    @property
    def log(self) -> Log:
        """The ghost's log."""
        return self._log

    @property
    def filepid(self) -> FilePid:
        """The ghost's pidfile."""
        return self._filepid

    @property
    def is_daemonized(self) -> bool:
        """Whether this process is the detached daemon, or one of its spirits."""
        return self._daemonized

    @property
    def addresses(self) -> list[str]:
        """Where the ghost listens, with the port that the kernel has chosen for port 0. Known once it is started."""
        return self._door.addresses

    # ── hooks: override them ──
    def again(self, **options: object) -> None:
        """At the end of construction, by every command."""

    def preinit(self) -> None:
        """In the starter, before the fork: the caller's directory and terminal are still there."""

    def init(self) -> None:
        """In the daemon, once, before startup."""

    def startup(self) -> None:
        """The work of the daemon: loops ``while self.ok`` and returns."""

    def hangup(self) -> None:
        """On HUP."""

    def cleanup(self, scope: int) -> None:
        """In the daemon before it ends; scope is 0 normally, 1 after an interruption. The log still works."""

    # ── commands ──
    def start(self) -> int:
        """Start the daemon; its pid, also if it was running already. Returns once the pool is whole.

        Raises what went wrong: UserError or SystemFault with the daemon's own message and exit code.
        """
        return self._filepid.running() or self.daemonize() or detach.end(self._live())

    def daemonize(self) -> int:
        """Detach from the caller: the daemon's pid in the starter, once it is up, and 0 in the daemon.

        Of several that start at the same moment one becomes the daemon, and all return its pid.
        """
        self._prepare()
        limit = self.config.daemon.start_limit(self.config.policy.boot_timeout)
        if not self._filepid.acquire():
            return self._pid_of_other(limit)
        with self._filepid.trying() as undone:
            undone.callback(self._door.close)
            self.preinit()
            self._open()
            if missing := self.log.missing():
                lsb.say(sys.stderr, f"{self.name}: {lsb.unheard(missing)}")
            side = detach.detach(allow_threads=self.config.spirit.fork_beside_threads == "warn")
        if isinstance(side, detach.Starter):
            self._filepid.release()  # the daemon has inherited it, and the sockets
            self._door.leave()
            outcome = side.wait_outcome(limit, self.log.place)
            if outcome.ok:
                return outcome.pid
            raise outcome.error()
        self._reporter, self._daemonized = side, True
        return 0

    def run(self) -> int:
        """Be the ghost in this process, in the foreground, until it is asked to stop: the exit code.

        For systemd, containers and terminals: TERM and INT are graceful, a second one is at once. Logs to stderr unless
        told otherwise.
        """
        self._prepare()
        with self._filepid.trying(self._hear(mortal=True).close) as undone:
            if not self._filepid.acquire_to_run(is_wanted=self.config.daemon.pidfile is not None):
                raise self._filepid.refusal()
            undone.callback(self._door.close)
            self.preinit()
            self._hear()  # who asks it to stop from now on finds nothing half done
            self._open()
        log = self.config.log
        if (log.logfile, log.loghandle, log.logger) == (None, None, None):
            self._log = Log(replace(log, logfile="/dev/stderr"), name=self.name)
        return self._live()

    def stop(self) -> int:
        """Stop the ghost: the pid that was stopped, 0 if none was running, -pid if it is still there.

        Graceful first, for drain_delay, graceful_timeout and stop_margin; then at once; then SIGKILL for it and all
        that it has started.
        """
        from ghostd.daemon import stopping  # noqa: PLC0415  never in a manager

        result = stopping.stop(self._filepid, self.config.policy.stop_limit, self.config.daemon.stop_margin)
        return result.pid if result.ok else -result.pid

    def restart(self) -> int:
        """Stop, then start: the new pid. Raises what went wrong."""
        pid = self.stop()
        return pid if pid < 0 else self.start()

    def reload(self, signal_number: int = signal.SIGHUP) -> int:
        """Ask the running ghost to reload: its pid, 0 if it is not running."""
        if not signal_number:
            raise UserError("reload is switched off: its signal is 0")
        return self._filepid.signal(signal_number)

    def status(self) -> int:
        """The pid of the running ghost, 0 if it is not running."""
        return self._filepid.running() or 0

    def ctrl(self, command: str | Sequence[str], signal_number: int = signal.SIGHUP) -> int:
        """Carry out a command and print what the ancestor prints: the exit code, for ``sys.exit``.

        Takes a word or the arguments of a script: ``sys.exit(ghost.ctrl(sys.argv[1:]))``.
        """
        try:
            return self._answer(command if isinstance(command, str) else " ".join(command), signal_number)
        except GhostdError as error:
            lsb.say(sys.stderr, f"{self.name}: {error}")
            return error.code

    def set_uid(self, user: str | int) -> None:
        """Become another user, for good, with its groups. Raises DeniedError or OptionError."""
        privileges.become(privileges.found(user, None))

    def set_gid(self, groups: str | int | Iterable[str | int]) -> None:
        """Take another group, or several of which the first is the primary one. Raises DeniedError or OptionError."""
        privileges.become(privileges.found(None, groups))

    def flush(self) -> None:
        """Forget the interruptions so far."""
        self._interrupts = 0

    # ── the daemon's life ──
    def _live(self) -> int:
        """From settling to cleanup, whatever happens between: the exit code."""
        try:
            self._hear()
            self._settle()
            self._ok = True
            self.log.write("info", f"Ghost process {os.getpid()} started")
            self.init()
            if self._is_up_at_startup:
                self.report_up()
            self.startup()
            code: int = ExitCode.OK
        except GhostdError as error:
            code = self._fail(error, str(error))
        except SystemExit as end:
            code = self._leave(end)
        except BaseException as error:  # noqa: BLE001  init and startup are the user's, who may raise anything
            told = f"{failure.briefly(error)}; its traceback is in {self.log.place}"
            code = self._fail(BootError(told), told, error)
        self._ok, self._tidings = False, STOPPING
        self.upkeep()
        self._guarded(self.cleanup, int(self._interrupts > 0))
        self._door.close(self.log.write)
        self.log.write("info", f"Ghost process {os.getpid()} stopped")
        self._ready.remove()
        if not self._filepid.remove():
            self._filepid.give_up()  # it failed before the files were its own
        if self._inbox is not None:
            self._inbox.close()
        self._tell_starter(code)
        return code

    def _hear(self, *, mortal: bool = False) -> Inbox:
        """From now on a signal is noted, and served when there is a time for it; or, mortal, ends what is begun."""
        if self._inbox is None:
            self._inbox = Inbox(MANAGER_SIGNALS, REQUEST_SIGNALS)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGER_SIGNALS)  # whoever started it may have blocked some
        self._inbox.is_mortal = mortal
        return self._inbox

    def _open(self) -> None:
        """What can fail while somebody is there to be told, and takes rights that are given up later."""
        forget = Notifier.from_environ(dict(os.environ)).forget  # a copy: who speaks for the ghost is not settled yet
        self._door.open(os.environ, *self._privileges.owner, self.config.policy.seats, forget)

    def _settle(self) -> None:
        """Pidfile and log while the right to them is there, then the other user, then the rest."""
        self._door.own()
        self._herald.begin(Notifier.from_environ(os.environ), self.log.write)
        self._herald.keep(self._door.keepsakes())
        umask = self.config.daemon.umask
        os.umask(umask)
        if not self._filepid.missing:
            if not self._filepid.adopt_after_fork():
                raise self._filepid.refusal()
            self._filepid.save()
        if self.config.daemon.ready_file or not self._filepid.missing:
            self._ready.make()
        self.log.open()
        self._door.tell(self.log.write)
        if self._filepid.missing:
            self.log.warn(f"Going on without a pidfile: {self._filepid.missing}")
        self.log.give_to(*self._privileges.owner)
        self._privileges.give_up()
        set_title(f"{self.name}: manager")
        if self._daemonized:
            detach.settle(chdir=self._chdir, umask=umask, stdio=self.log.fileno())
            self.log.leave_stderr()

    def _pid_of_other(self, limit: float) -> int:
        """Somebody else is starting it, or has just done so."""
        pid = self._filepid.wait_running(limit)
        if pid is None:
            raise StartTimeoutError(f"another starter holds {self.pidfile} and has no daemon after {limit:g} s")
        return pid

    def report_up(self) -> None:
        """The ghost is up: let the starter return, and tell the init system."""
        if self._reporter is not None:
            self._reporter.ready()
            self._reporter = None
        self._tidings = RUNNING
        self.upkeep()

    def stop_asked(self, *, interrupted: bool) -> None:
        """The shutdown begins: ``ok`` is false from now on, and the init system knows."""
        self._ok = False
        self._interrupts += interrupted
        self._tidings = STOPPING
        self.upkeep()

    def _fail(self, error: GhostdError, text: str, cause: BaseException | None = None) -> ExitCode:
        if cause is None:
            self.log.write("fatal", text)
        else:
            self.log.exception(f"Ghost process {os.getpid()} failed", cause)
        self._failure = text
        if not self._daemonized:
            lsb.say(sys.stderr, f"{self.name}: {text}")
        return error.code

    def _tell_starter(self, code: int) -> None:
        """The last thing: whoever hears of a failure may start anew at once, and must find nothing in the way."""
        if self._reporter is not None:
            why = self._failure or "it was asked to stop before it was up"
            self._reporter.failed(code or ExitCode.FAILED, why)

    def _leave(self, end: SystemExit) -> int:
        """Init or startup ended the ghost: its own code. A starter that still waits is told that nothing runs."""
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code or self._reporter is not None:
            self._fail(BootError(), f"SystemExit: {end.code}", end)
        return code & 0xFF

    def _guarded(self, hook: Callable[..., object], *args: object) -> None:
        """Call a hook outside of the pool's loop: whatever it raises is logged, and goes no further."""
        try:
            hook(*args)
        except BaseException as error:  # also SystemExit and KeyboardInterrupt
            self.log.exception(f"Hook {getattr(hook, '__name__', hook)} failed, the ghost goes on", error)

    def private_descriptors(self) -> set[int]:
        """Those of this process that no spirit may have: pidfile and lock, signals, the word to the starter."""
        reporter = () if self._reporter is None else (self._reporter.fileno(),)
        inbox = () if self._inbox is None else self._inbox.descriptors()
        files = {*self._filepid.descriptors(), *self._ready.descriptors()}
        return {*files, *self._door.private_descriptors(), *reporter, *inbox}

    # ── signals, where no pool serves them ──
    def _serve_signals(self) -> None:
        if self._inbox is None:
            return
        self.upkeep()
        for number in self._inbox.drain():
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self.stop_asked(interrupted=True)
                case signal.SIGQUIT:
                    self.stop_asked(interrupted=False)
                case signal.SIGHUP | signal.SIGUSR1 | signal.SIGUSR2:
                    self.serve(number)

    def serve(self, number: int) -> None:
        """Do what HUP, USR1 or USR2 asks for. Never raises, whatever the hook does."""
        wanted = {signal.SIGHUP: self.hangup, signal.SIGUSR1: self.reopen, signal.SIGUSR2: self.upgrade}
        self._guarded(wanted[signal.Signals(number)])
        self._reloads += number == signal.SIGHUP

    def upkeep(self) -> float:
        """At each turn: make deleted files anew, and tell what is new; when to be called again at the latest."""
        self._upkeep.look(self.log.write)
        return min(self._herald.tell(self.tidings(), now()), self._door.upkeep(now()))

    def tidings(self) -> Tidings:
        """How the ghost is, for the init system and for probes."""
        return replace(self._tidings, reloads=self._reloads)

    def reopen(self) -> None:
        """On USR1: open the log anew, as after a rotation."""
        self.log.reopen()
        self.log.write("notice", "Log reopened")

    def upgrade(self) -> None:
        """On USR2: nothing yet but a word in the log."""
        self.log.write("warn", "USR2 asks for an upgrade, which this version cannot do: use restart")

    # ── helpers ──
    def _answer(self, word: str, signal_number: int) -> int:
        if word == "run":
            return self.run()
        reply = answer(self, word, signal_number)
        lsb.say(sys.stderr if reply.is_error else sys.stdout, reply.text)
        return reply.code

    def _prepare(self) -> None:
        """Before anything is opened: it must not become somebody's stdin, and what was asked for must be allowed."""
        fds.ensure_stdio()
        self._door.load(os.environ)
        self._privileges.check_right()
