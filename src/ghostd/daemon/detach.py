"""Becoming a daemon: two forks, a session of its own, and a word to the starter about how it went.

The process between starter and daemon, whose only task elsewhere is to lead the session and leave, stays here as the
**witness** until the daemon has said its word. As its parent it can tell how the daemon ended when it ended without
one, which a starter cannot know. It holds nothing but two pipes and cannot be hit by any signal but SIGKILL and
SIGSTOP.

Rule: the starter waits for a word, never for a time; and each of the three processes ends on its own way, whichever of
the others is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import sys
import time
from contextlib import suppress

from ghostd.errors import (
    BootError,
    DeniedError,
    ExitCode,
    GhostdError,
    OptionError,
    StartTimeoutError,
    SystemFault,
    ThreadedForkError,
)
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import child, fds, procfs
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, NoReturn

_TEXT_MOST: Final = 32_768  # bytes of a word: half of what a pipe takes, so that telling it never waits
_LOOK_EVERY: Final = 20  # milliseconds between looks at the daemon where the kernel has no pidfd
_READY, _FAILED, _DIED, _PID = b"R", b"F", b"D", b"P"


class Outcome(Frozen):
    """How a start went. ``pid`` of the daemon, 0 when there never was one; ``is_late``: not known within the time."""

    ok: bool
    code: int
    text: str
    pid: int
    is_late: bool = False

    def error(self) -> GhostdError:
        """What the daemon, or the lack of it, said about a start that failed; with its own exit code."""
        error = StartTimeoutError(self.text) if self.is_late else BootError(self.text)
        error.code = ExitCode(self.code) if self.code in set(ExitCode) else ExitCode.BOOT_FAILED
        return error


class Reporter:
    """The daemon's side: says once how its start went. A starter that is gone does not matter."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def ready(self) -> None:
        """All is well: the starter may go."""
        self._say(_READY)

    def failed(self, code: int, text: str) -> None:
        """It did not work; the starter says so and ends with this code. This process ends itself."""
        self._say(_FAILED + f"{int(code)}\n{text}".encode(errors="backslashreplace")[:_TEXT_MOST])

    def fileno(self) -> int:
        """The descriptor that must stay open until then; -1 once the word is said."""
        return self._fd

    def close(self) -> None:
        """Say nothing, as a child of the daemon that has inherited this."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _say(self, word: bytes) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.write(self._fd, word)
        self.close()


class Starter:
    """The starter's side: waits for the word."""

    def __init__(self, fd: int, witness: child.Child) -> None:
        self._fd = fd
        self._witness = witness
        self._heard = b""

    def fileno(self) -> int:
        """Readable when there is something to hear."""
        return self._fd

    @property
    def pid(self) -> int:
        """The daemon's pid, 0 as long as it is not known."""
        return _pid(self._heard)

    def wait_outcome(self, timeout: float, log: str = "its log") -> Outcome:
        """Wait until the daemon has said how it went, or has ended, or ``timeout`` seconds are over; for once only.

        ``log`` is where a text sends the reader when the daemon itself has not said enough.
        """
        until = time.monotonic() + timeout
        while not (is_over := self._listen(until)):
            if time.monotonic() >= until:
                break
        outcome = _outcome(self._heard, timeout, is_over, log)
        self.close()
        return outcome

    def close(self) -> None:
        """Stop listening; the daemon goes on as it likes."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        self._witness.send(signal.SIGKILL)  # it has nothing left to do
        with suppress(ChildProcessError):
            os.waitpid(self._witness.pid, 0)
        self._witness.close()

    def _listen(self, until: float) -> bool:
        """Take what there is to hear; whether that was all."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000 + 1):
            return False
        heard = os.read(self._fd, _TEXT_MOST)
        self._heard += heard
        return not heard


def detach(*, allow_threads: bool = False) -> Starter | Reporter:
    """Fork twice; gives the starter its Starter, and the daemon, in a session of its own, its Reporter.

    Signals are held back until the daemon is there; one for it waits and arrives when the mask is again what it was
    before the call. ThreadedForkError when this process has a second thread, SystemFault when the machine has no
    process left.
    """
    threads = procfs.thread_count()
    if threads > 1 and not allow_threads:
        raise ThreadedForkError(
            f"not detached: this process has {threads} threads, and a fork copies their locks but not the threads; "
            "start them in the spirits"
        )
    fds.ensure_stdio()
    _flush_stdio()
    mask = child.block_signals()
    pipe: tuple[int, ...] = ()
    try:
        reader, writer = pipe = fds.pipe_cloexec()
        witness = os.fork()
    except OSError as error:
        for fd in pipe:
            os.close(fd)
        child.unblock_signals(mask)
        raise SystemFault(f"not detached: {error.strerror}") from error
    if witness:
        os.close(writer)
        child.unblock_signals(mask)
        return Starter(reader, child.Child(witness))
    os.close(reader)
    reporter = _split(writer)
    child.unblock_signals(mask)
    return reporter


def settle(*, chdir: str = "/", umask: int = 0o022, stdio: int | None = None, keep: Iterable[int] = ()) -> None:
    """Take the daemon's place in the world: directory, umask, stdio, and no descriptor that somebody else left open.

    stdin reads nothing, stdout and stderr go to ``stdio`` or nowhere. Of the other descriptors those that were
    inherited from whoever started it are closed, unless they are named in ``keep``. What this program has opened itself
    stays: Python marks it close-on-exec, which no inherited one can be, and to close it under its owner would have the
    owner close a stranger later.
    """
    try:
        os.chdir(chdir)
    except OSError as error:
        kind = DeniedError if error.errno in (errno.EACCES, errno.EPERM) else OptionError
        raise kind(f"option chdir: {chdir!r} is not allowed; {error.strerror}") from error
    os.umask(umask)
    _flush_stdio()
    fds.redirect_stdio(stdio)
    _renew_streams()
    fds.close_all_but({0, 1, 2, *keep, *_own()})


def end(code: int) -> NoReturn:
    """The daemon ends here: it must not run on in its starter's code."""
    _flush_stdio()
    os._exit(code)


def _split(writer: int) -> Reporter:
    """In the first child: fork the daemon, in which this returns; the witness never does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by whoever started us, the daemon's end would tell nothing
    try:
        os.setsid()
        reader, word = fds.pipe_cloexec()
        os.set_blocking(word, False)
        pid = os.fork()
    except OSError as error:
        _forward(writer, _FAILED + f"{int(ExitCode.SYSTEM)}\nnot detached: {error.strerror}".encode())
        os._exit(0)
    if pid == 0:
        os.close(reader)
        os.close(writer)
        with suppress(OSError):
            os.setpgid(0, 0)  # a group of its own: that of the witness will have lost its leader
        return Reporter(word)
    try:
        os.close(word)
        _witness(pid, reader, writer)
    finally:
        os._exit(0)


def _witness(pid: int, reader: int, writer: int) -> None:
    """Wait for the daemon's word or its end, and pass it on."""
    fds.close_all_but((reader, writer))
    os.set_blocking(reader, False)
    _forward(writer, _PID + b"%d\n" % pid)
    pidfd = _pidfd(pid)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    if pidfd >= 0:
        poll.register(pidfd, select.POLLIN)
    word, status = b"", None
    while not word and status is None:
        poll.poll(None if pidfd >= 0 else _LOOK_EVERY)
        # First the end, then the word: what it said before it ended is then in the pipe.
        ended, found = os.waitpid(pid, os.WNOHANG)
        status = found if ended else None
        word, is_closed = _drained(reader)
        if is_closed and not word and status is None:
            status = os.waitpid(pid, 0)[1]  # it gave up the pipe: all that it can still do is end
    _forward(writer, word or _DIED + b"%d" % (status or 0))


def _drained(reader: int) -> tuple[bytes, bool]:
    """The word, which is written at once and so is there whole or not at all; and whether none can come any more."""
    word = b""
    try:
        while heard := os.read(reader, _TEXT_MOST):
            word += heard
    except BlockingIOError:
        return word, False
    return word, True


def _forward(writer: int, word: bytes) -> None:
    with suppress(OSError):  # the starter is gone: the daemon goes on
        os.write(writer, word)


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _pid(heard: bytes) -> int:
    first, end, _ = heard.partition(b"\n")
    return int(first[1:]) if end and first[:1] == _PID else 0


def _outcome(heard: bytes, timeout: float, is_over: bool, log: str) -> Outcome:  # noqa: FBT001  facts of one hearing
    pid = _pid(heard)
    word = heard.partition(b"\n")[2] if pid else heard
    kind, text = word[:1], word[1:].decode(errors="replace")
    if kind == _READY:
        return Outcome(True, ExitCode.OK, "", pid)
    if kind == _FAILED and is_over:
        code, _, why = text.partition("\n")
        return Outcome(False, int(code), why, pid)
    if kind == _DIED and is_over:
        return _death(int(text), pid, log)
    if is_over:
        return Outcome(False, ExitCode.SYSTEM, f"the process that watched the daemon was killed; see {log}", pid)
    why = f"the daemon (pid {pid or 'unknown'}) was not ready within {timeout:g} s and goes on; see {log}, or stop it"
    return Outcome(False, ExitCode.TIMED_OUT, why, pid, is_late=True)


def _death(status: int, pid: int, log: str) -> Outcome:
    code, signum, _ = child.decode(status)
    if signum is not None:
        name = signal.Signals(signum).name if signum in set(signal.Signals) else f"signal {signum}"
        why = f"the daemon (pid {pid}) was ended by {name} before it was ready; see {log}"
        return Outcome(False, ExitCode.BOOT_FAILED, why, pid)
    why = f"the daemon (pid {pid}) ended with code {code} before it was ready, and did not say why; see {log}"
    return Outcome(False, code or ExitCode.BOOT_FAILED, why, pid)


def _own() -> set[int]:
    """The descriptors that this program has opened itself: those that an exec closes."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except FileNotFoundError:
        numbers = list(range(3, 1024))  # what a process without /proc may have by default
    found = set()
    for fd in numbers:
        try:
            if fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                found.add(fd)
        except OSError as error:
            if error.errno != errno.EBADF:  # else it is not open, or not any more
                found.add(fd)  # what cannot be asked is left alone
    return found


def _flush_stdio() -> None:
    """Write out what was printed, or each process would write it again."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None; a full disk; closed
            stream.flush()


def _renew_streams() -> None:
    """Have what is printed appear line by line: a daemon ends without flushing. Closed streams are made anew."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            fresh = open(fd, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115  for life
            setattr(sys, name, fresh)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
