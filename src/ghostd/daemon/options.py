"""How a ghost settles as a daemon: its name, its user, its pidfile, and how long starting and stopping may take."""

from __future__ import annotations

import os
import sys

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING
from ghostd.options import Kind, check, option
from ghostd.record import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Sequence


class DaemonOptions(Frozen, kw_only=True):
    """Checked when made; raises OptionError. :meth:`settled` fills in what depends on the moment: name and paths."""

    name: str | None = option(
        None,
        Kind.TEXT,
        "What pidfile, system log and process title call the ghost.",
        why="None: the script's basename, as the ancestor has it",
    )
    user: str | int | None = option(
        None,
        Kind.NAME,
        "The user to become, by name or number, with its primary and supplementary groups.",
        why="None: stay who started it",
    )
    group: str | int | Sequence[str | int] | None = option(
        None, Kind.NAMES, "The group to become; of a list the first is the primary one.", why="None: those of the user"
    )
    pidfile: str | None = option(
        None, Kind.PATH, "Where the pid is written; the lock is beside it.", why="None: ./NAME.pid, as in the ancestor"
    )
    ready_file: str | None = option(
        None,
        Kind.PATH,
        "A file that has something in it while the ghost can work, and else is empty or gone: for probes.",
        why="None: PIDFILE.ready, where there is a pidfile",
    )
    umask: int = option(
        0o022, Kind.MODE, "The permission bits that new files never have.", why="nobody else writes to them"
    )
    chdir: str = option(
        "/", Kind.PATH, "The directory that the daemon works in.", why="it keeps no file system from being unmounted"
    )
    start_timeout: float | None = option(
        None,
        Kind.SECONDS,
        "How long `start` waits until the pool is whole.",
        why="None: boot_timeout and 5 seconds for the daemon itself, so a slow boot is not cut short",
        least=0.01,
        most=1e9,
    )
    stop_margin: float = option(
        5.0,
        Kind.SECONDS,
        "How long beyond drain_delay and graceful_timeout `stop` waits before it presses harder.",
        why="the manager kills what is left at graceful_timeout, and reaping takes moments on a loaded machine",
        most=1e9,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.name is not None and not _is_file_name(self.name):
            raise OptionError(
                f"option name: {self.name!r} is not allowed; it takes a name without slashes and controls"
            )
        for name in ("pidfile", "ready_file", "chdir"):
            if getattr(self, name) == "":
                raise OptionError(f"option {name}: '' is not allowed; it takes a path")

    def settled(self, script: str | None = None, cwd: str | None = None) -> DaemonOptions:
        """The same with a name and absolute paths, as seen from ``cwd``: a daemon changes its directory later."""
        name = self.name or _basename(sys.argv[0] if script is None else script)
        pidfile = _absolute("pidfile", self.pidfile or f"{name}.pid", cwd)
        chdir = _absolute("chdir", self.chdir, cwd)
        ready_file = self.ready_file and _absolute("ready_file", self.ready_file, cwd)
        return replace(self, name=name, pidfile=pidfile, ready_file=ready_file, chdir=chdir)

    def start_limit(self, boot_timeout: float) -> float:
        """How long a start may take, in seconds, when one spirit may take ``boot_timeout``."""
        return boot_timeout + 5.0 if self.start_timeout is None else self.start_timeout


def _absolute(option: str, path: str, cwd: str | None) -> str:
    if os.path.isabs(path):
        return os.path.normpath(path)
    try:
        here = os.getcwd() if cwd is None else cwd
    except FileNotFoundError:
        raise OptionError(
            f"option {option}: {path!r} is not allowed here; the current directory was removed: give an absolute path"
        ) from None
    return os.path.normpath(os.path.join(here, path))


def _basename(script: str) -> str:
    """The script's name without its ending; "ghostd" where there is no script, as with ``python -c``."""
    name = os.path.basename(script).removesuffix(".py")
    return name if _is_file_name(name) and name not in ("-c", "-m", "__main__") else "ghostd"


def _is_file_name(name: str) -> bool:
    return bool(name) and name.isprintable() and "/" not in name and name not in (".", "..") and len(name) <= 200
