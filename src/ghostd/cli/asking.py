"""Asks the ghost of a pidfile, without its program: ``status``, ``check``, and plain ``stop`` and ``reload``.

Rule: light, as quick.py is; None means that the program has to be loaded for the rest.
"""

from __future__ import annotations

import signal

from ghostd.cli import output
from ghostd.daemon import answer, lsb
from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.ready import ready_pid
from ghostd.hints import TYPE_CHECKING
from ghostd.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ghostd.daemon.handle import Handle

FIRST_MOMENT = 1.0  # seconds that `stop` waits before it has to know how long this very ghost may take


def status(pidfile: str, *, as_json: bool) -> int:
    """Tell whether the ghost runs; the exit code."""
    file = FilePid(pidfile)
    if not as_json:
        return output.tell(answer.status(file))
    pid = file.running()
    return output.status(lsb.status(pid, has_pidfile=file.is_left), pidfile, pid)


def check(pidfile: str, ready_file: str, *, live: bool) -> int:
    """Tell a probe whether the ghost lives, or can work; the exit code."""
    running = FilePid(pidfile).running()
    if not live and (pid := ready_pid(ready_file, running)):
        return output.tell(lsb.ready(pid))
    if running is None:
        return output.tell(lsb.dead())
    if live:
        return output.tell(lsb.live(running, is_stopped=procfs.is_stopped(running)))
    return output.tell(lsb.not_ready(running))


def stop(pidfile: str, later: Callable[[Handle], int]) -> int:
    """Ask the ghost to quit, and wait a moment: the exit code; that of ``later`` when a moment was not enough.

    It gets the handle: one that is about to end may have given its lock back, and nobody would find it by that.
    """
    file = FilePid(pidfile)
    manager = file.manager()
    if manager is None:
        file.sweep()
        return output.tell(lsb.not_running())
    with manager:
        manager.send(signal.SIGQUIT)
        manager.send(signal.SIGCONT)  # one that was stopped could not heed it
        if not manager.wait_end(FIRST_MOMENT):
            return later(manager)
    file.sweep()
    return output.tell(lsb.stopped(manager.pid))


def reload(pidfile: str) -> int | None:
    """Ask the ghost to reload; None when none runs: its program is needed to start it."""
    pid = FilePid(pidfile).signal(signal.SIGHUP)
    return output.tell(lsb.reloading(pid)) if pid else None
