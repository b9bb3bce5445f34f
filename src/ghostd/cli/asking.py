"""Asks the ghost of a pidfile, without its program: ``status``, ``stop`` and ``reload`` as long as they are plain.

Rule: light, as quick.py is; None means that the program has to be loaded for the rest.
"""

import os
import signal

from ghostd.cli import output
from ghostd.daemon import lsb, stopping
from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.stopping import Handle, StopState

FIRST_MOMENT = 1.0  # seconds that `stop` waits before it has to know how long this very ghost may take


def status(pidfile: str, *, as_json: bool) -> int:
    """Tell whether the ghost runs; the exit code."""
    pid = FilePid(pidfile).running()
    reply = lsb.status(pid, os.path.lexists(pidfile))
    return output.status(reply, pidfile, pid) if as_json else output.tell(reply)


def stop(pidfile: str) -> int | None:
    """Ask the ghost to quit, and wait a moment; None when that was not enough, or when it is not so plain."""
    file = FilePid(pidfile)
    manager = _manager(file)
    if manager is None:
        if file.running() is not None:
            return None  # nobody holds its lock: what to do then takes more words
        file.sweep()
        return output.tell(lsb.not_running())
    with manager:
        manager.send(signal.SIGQUIT)
        manager.send(signal.SIGCONT)  # one that was stopped could not heed it
        if not manager.wait_end(FIRST_MOMENT):
            return None
    file.sweep()
    return output.tell(lsb.stopped(manager.pid))


def stop_for(file: FilePid, graceful_limit: float, margin: float) -> int:
    """Stop the ghost, however long it takes: gracefully within these seconds, then harder."""
    result = stopping.stop(file, graceful_limit, margin)
    if result.state is StopState.NOT_RUNNING:
        return output.tell(lsb.not_running())
    return output.tell(lsb.stopped(result.pid) if result.ok else lsb.still_there(result.pid))


def reload(pidfile: str) -> int | None:
    """Ask the ghost to reload; None when none runs: its program is needed to start it."""
    manager = _manager(FilePid(pidfile))
    if manager is None:
        return None
    with manager:
        return output.tell(lsb.reloading(manager.pid)) if manager.send(signal.SIGHUP) else None


def _manager(file: FilePid) -> Handle | None:
    """A handle on the process that holds the ghost's lock, and on no later owner of its number."""
    while (pid := file.holder()) is not None:
        manager = Handle(pid)
        if file.holder() == pid:
            return manager
        manager.close()
    return None
