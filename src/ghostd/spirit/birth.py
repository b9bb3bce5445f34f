"""The first steps of a newborn spirit, in their order, each with its why; and its last one.

In a newborn every object that is touched is a page to copy, be it only for its count of references: a name that is
looked up costs more than the call that it is looked up for. So all that the steps need is fetched and made before the
fork, once for all spirits, and the steps are one plain function of calls and local names.
"""

from __future__ import annotations

import _signal
import os
import signal
import sys
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING
from ghostd.linux import fds, process
from ghostd.record import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ghostd.linux.board import Board
    from ghostd.linux.life import LifePipe
    from ghostd.linux.process import Call


class Inheritance(Frozen, kw_only=True):
    """What every spirit of a pool is given by its manager."""

    manager: int  # pid
    board: Board
    life: LifePipe
    signals: tuple[tuple[int, int], ...]  # what to make of those that the manager changed
    unblock: Call
    keep: tuple[int, ...]  # the descriptors of the user, of the log and of the bell, and stdio; all others are closed
    stdio: int | None  # where stdout and stderr go, unless they stay
    nofile: tuple[int, int] | None  # the limits to go back to, when the manager raised its own
    on_quit: Callable[[], None]  # called when the spirit is asked to leave


def lay_out(given: Inheritance) -> Callable[[int], None]:
    """Make the function that turns a copy of the manager into the spirit of a seat. Signals are blocked until its end.

    It is called in the newborn. By the C functions where Python has wrappers, whose enums are touched, too.
    """
    set_wakeup_fd, set_signal, setpgid, getpid, getppid = (
        _signal.set_wakeup_fd, _signal.signal, os.setpgid, os.getpid, os.getppid,
    )  # fmt: skip
    manager, keep, stdio, nofile, unblock = given.manager, given.keep, given.stdio, given.nofile, given.unblock
    die_with_parent = process.dying_with_parent(signal.SIGKILL)
    adopt, follow = given.board.adopt, given.life.following()
    close_all_else = fds.closing_all_but((*keep, given.life.end))
    on_quit = given.on_quit

    def quit_asked(_number: int, _frame: object) -> None:
        on_quit()

    actions = {**dict(given.signals), int(signal.SIGQUIT): quit_asked}.items()

    def be_born(seat: int) -> None:
        # The manager's handlers and wakeup descriptor must not hear our signals. QUIT asks us to leave; TERM and INT
        # end us, as the ancestor's spirits.
        set_wakeup_fd(-1)
        for number, action in actions:
            set_signal(number, action)
        # Own group: Ctrl-C on a terminal reaches the manager alone, and what this spirit starts goes with it.
        setpgid(0, 0)
        # No orphan: the kernel ends us with the manager, also when we hang. It may have gone before this line.
        die_with_parent()
        if getppid() != manager:
            os._exit(0)
        # Only our own page: we cannot speak for another spirit, and what we fork cannot speak for us.
        adopt(seat)
        if stdio is not None:
            fds.redirect_stdio(stdio)
        # Of the manager's descriptors nothing stays, of other spirits' nothing.
        for close in close_all_else:
            close()
        # The same through the life pipe, for all of our group: it also ends what we have started, and holds where
        # PDEATHSIG is lost by a change of user.
        follow(-getpid())
        if nofile is not None:
            fds.restore_limit(nofile)
        # From here on we hear.
        unblock()

    return be_born


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
