"""Signals as something to wait for: a descriptor that is readable when one has come, and a list of those that have.

The handlers do next to nothing; what wakes is the byte that C code writes to a pipe (signal.set_wakeup_fd). A handler
that writes that byte itself loses wake-ups: https://github.com/python/cpython/issues/98140.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections import Counter

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import FrameType
    from typing import Self

    Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

MOST_OF_A_KIND: int = 64  # of one drain: nobody means more presses of a key than that

# Python itself ignores these, so that a write to a closed socket or a full quota is an exception and no death.
_IGNORED_BY_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
_UNCATCHABLE = frozenset({signal.SIGKILL, signal.SIGSTOP})
_HARMLESS = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG})  # by default


class Inbox:
    """Takes the given signals for as long as it is open; made in the main thread, one at a time.

    ``requests`` are those of them that ask for something nobody can do any more once it is closed: where the system
    would end the process for one, it is ignored from then on. A reload asked for in the last moment must not be what
    the ghost seems to have died of.

    Which signals came is read from the pipe, in their order. Should a flood fill it, bytes are lost, but no kind: the
    handlers have noted each kind beside it.

    While ``is_mortal``, a signal does what it did before. But where the system would end the process, SystemExit is
    raised first, for who has something to undo, and the process ends of the signal when this is closed.
    """

    def __init__(self, signals: Iterable[int], requests: Collection[int] = ()) -> None:
        self.is_mortal = False
        self._fatal = 0  # came while mortal
        self._requests = requests
        self._noted: set[int] = set()
        self._before: dict[int, Handler] = {}
        self._wanted = frozenset(int(signum) for signum in signals)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._room = fcntl.fcntl(self._reader, fcntl.F_GETPIPE_SZ)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        # One object for all, and kept: each that a newborn had to free would cost it page faults.
        self._handler = self._note
        try:
            for signum in sorted(self._wanted):
                self._before[signum] = signal.signal(signum, self._handler)
        except (OSError, ValueError):
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._reader

    def descriptors(self) -> tuple[int, int]:
        """Both ends, neither of which a child needs."""
        return self._reader, self._writer

    def drain(self) -> list[int]:
        """The signals that came since the last call, in order; of a kind at most MOST_OF_A_KIND, and never none."""
        came = self._read()
        signals = [signum for signum in came if signum in self._wanted]
        if len(signals) > MOST_OF_A_KIND:
            signals = _capped(signals)
        if len(came) * 2 >= self._room:
            # The pipe may have been full. A kind whose byte comes only now may be told twice, which beats never.
            signals += sorted(self._noted.difference(signals))
        self._noted.clear()
        return signals

    def close(self) -> None:
        """Give signals and the wakeup descriptor back to whom they belonged; a second time does nothing."""
        if self._reader < 0:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        for signum, handler in self._before.items():
            if handler is None:
                continue  # set by C code, which only C code can set again
            too_late = handler == signal.SIG_DFL and signum in self._requests
            signal.signal(signum, signal.SIG_IGN if too_late else handler)
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1
        if self.is_mortal and self._fatal:
            signal.signal(self._fatal, signal.SIG_DFL)  # a request would else be ignored by now
            signal.raise_signal(self._fatal)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._noted.add(signum)
        if self.is_mortal:
            before = self._before.get(signum)  # None: it came as its handler was being set
            if callable(before):
                before(signum, frame)
            elif before is not signal.SIG_IGN and signum not in _HARMLESS:
                self._fatal = signum
                raise SystemExit(128 + signum)

    def _read(self) -> bytes:
        try:
            return os.read(self._reader, self._room)  # what a flood adds meanwhile waits for the next call
        except BlockingIOError:
            return b""


def changed() -> tuple[tuple[int, int], ...]:
    """Each signal that does not do what the system has it do, with that; asked before a fork, for a newborn.

    SIGPIPE and SIGXFSZ alone are ignored, as in any Python. A handler that C code set behind Python's back is left out:
    it is faulthandler's, whose stacks are wanted.
    """
    found = []
    for signum in signal.valid_signals() - _UNCATCHABLE:
        wanted = signal.SIG_IGN if signum in _IGNORED_BY_PYTHON else signal.SIG_DFL
        if signal.getsignal(signum) is not wanted:
            found.append((int(signum), int(wanted)))
    return tuple(found)


def reset_all() -> None:
    """Forget every handler, and the wakeup descriptor. The caller empties the mask afterwards."""
    signal.set_wakeup_fd(-1)
    for signum, action in changed():
        signal.signal(signum, action)


def _capped(signals: list[int]) -> list[int]:
    told: Counter[int] = Counter()
    kept = []
    for signum in signals:
        told[signum] += 1
        if told[signum] <= MOST_OF_A_KIND:
            kept.append(signum)
    return kept
