"""Carries out the command that a script was given, and answers as the ancestor does. The texts are in lsb.py."""

from __future__ import annotations

from ghostd.daemon import lsb
from ghostd.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ghostd.daemon.pidfile import FilePid


class Commanded(Protocol):
    """A ghost, as far as commands go."""

    @property
    def filepid(self) -> FilePid:
        """Its pidfile."""

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""

    def start(self) -> int:
        """Start it: its pid."""

    def stop(self) -> int:
        """Stop it: its pid, 0 if none was running, -pid if it is still there."""

    def restart(self) -> int:
        """Stop and start it: the new pid, -pid if the old one is still there."""

    def reload(self, signal_number: int) -> int:
        """Ask it to reload: its pid, 0 if none is running."""


def answer(ghost: Commanded, word: str, signal_number: int) -> lsb.Reply:
    """Do what the word says; what goes wrong is raised."""
    match word:
        case "start":
            running = ghost.filepid.running()
            return lsb.already_running(running) if running else lsb.started(ghost.start(), ghost.addresses)
        case "stop":
            pid = ghost.stop()
            return lsb.stopped(pid) if pid > 0 else lsb.still_there(-pid) if pid else lsb.not_running()
        case "restart":
            pid = ghost.restart()
            return lsb.restarted() if pid > 0 else lsb.restart_failed(-pid)
        case "reload":
            pid = ghost.reload(signal_number)
            return lsb.reloading(pid) if pid else lsb.started(ghost.start(), ghost.addresses)
        case "status":
            return status(ghost.filepid)
        case _:
            return lsb.incorrect(word)


def status(file: FilePid) -> lsb.Reply:
    """Whether a ghost runs and, once its spirits have served anything, how much that is."""
    pid = file.running()
    return lsb.status(pid, file.is_left, _counted(pid) if pid else "")


def _counted(manager: int) -> str:
    from ghostd.linux import onlooker, procfs  # noqa: PLC0415  for those who ask, and not in the ghost itself

    if not onlooker.has_counted(manager):
        return ""
    counts = onlooker.counts(manager, procfs.children(manager)).values()
    return lsb.counted(len(counts), sum(count[1] for count in counts), sum(count[2] for count in counts))
