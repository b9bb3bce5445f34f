"""The first steps of a newborn spirit, in their order, each with its why; and its last one."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import fds, inbox, life, process
from ghostd.linux.child import unblock_signals
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import NoReturn

    from ghostd.linux.board import Board, Doorbell, Page

    OnQuit = Callable[[], None]


class Inheritance(Frozen):
    """What every spirit of a pool is given by its manager."""

    manager: int  # pid
    board: Board
    bell: Doorbell
    signals: tuple[tuple[int, int], ...]  # what to make of those that the manager changed
    keep: tuple[int, ...]  # the user's descriptors, stdio and the doorbell; but for the log's, all others are closed
    stdio: int | None  # where stdout and stderr go, unless they stay
    nofile: tuple[int, int] | None  # the limits to go back to, when the manager raised its own


def be_born(
    given: Inheritance, seat: int, life_end: int, mask: set[int], log: Collection[int], awaken: Callable[[Page], OnQuit]
) -> None:
    """From a copy of the manager to a spirit. Signals are blocked until the last step.

    ``life_end`` is its own end of a pipe whose end is the manager's end, -1 where there is none; ``log`` the log's
    descriptors. ``awaken`` makes the spirit's voice from its page and returns what to call when the spirit is asked to
    leave.
    """
    # The manager's handlers and wakeup descriptor must not hear our signals.
    inbox.reset(given.signals)
    # Own group: Ctrl-C on a terminal reaches the manager alone, and what this spirit starts goes with it.
    os.setpgid(0, 0)
    # No orphan: the kernel ends us with the manager, also when we hang. It may have gone before this line.
    process.die_with_parent(signal.SIGKILL)
    if os.getppid() != given.manager:
        os._exit(0)
    # Only our own page: we cannot speak for another spirit.
    page = given.board.adopt(seat)
    if given.stdio is not None:
        fds.redirect_stdio(given.stdio)
    # Of the manager's descriptors nothing stays, of other spirits' nothing.
    fds.close_all_but((*given.keep, *log, max(life_end, 0)))
    # The same through the life pipe, for all of our group: it also ends what we have started, and holds where PDEATHSIG
    # is lost by a change of user.
    life.follow(life_end)
    fds.restore_limit(given.nofile)
    gc.enable()
    on_quit = awaken(page)
    # What this spirit forks must not beat for it: there the page becomes private memory.
    os.register_at_fork(after_in_child=page.mute)
    # From here on we hear: QUIT asks us to leave; TERM and INT end us, as the ancestor's spirits.
    signal.signal(signal.SIGQUIT, lambda _number, _frame: on_quit())
    unblock_signals(mask)


def leave(code: int) -> NoReturn:
    """End this process without running what the manager registered for its own end."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()  # noqa: SLF001  waits for threads that are not daemons, as the end of any program does
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            if stream is not None:
                stream.flush()
    os._exit(code)
