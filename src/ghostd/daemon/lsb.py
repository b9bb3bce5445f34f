"""What the commands say and end with, in the words of the ancestor and the codes of LSB. Pure but for :func:`say`.

Rule: a text for a person who asked goes to stdout, one that tells of a failure to stderr; ``is_error`` says which.
"""

from __future__ import annotations

from contextlib import suppress

from ghostd.errors import ExitCode
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, TextIO

COMMANDS: Final = ("start", "stop", "restart", "reload", "status", "run")


class Reply:
    """The answer of one command."""

    __slots__ = ("code", "is_error", "text")

    def __init__(self, text: str, code: ExitCode = ExitCode.OK, *, is_error: bool = False) -> None:
        self.text = text
        self.code = code
        self.is_error = is_error

    def __repr__(self) -> str:
        return f"Reply({self.text!r}, {self.code!r}, is_error={self.is_error})"


def say(stream: TextIO | None, text: str) -> None:
    """Tell whoever listens; a caller who has closed its stdout or stderr, or cannot be told, still gets the code."""
    if stream is not None:
        with suppress(OSError):  # what comes after it must not be left undone
            stream.write(f"{text}\n")


def started(pid: int, addresses: Iterable[str] = ()) -> Reply:
    """`start` has a whole pool, which listens there."""
    return Reply("\n".join([f"Running {pid}", *(f"Listening on {address}" for address in addresses)]))


def unheard(missing: str) -> str:
    """`start` detaches a daemon whose log nobody takes yet; ``missing`` says who is not there."""
    return (
        f"{missing}: what the daemon logs is lost, and counted, until one is there; option logfile names a file instead"
    )


def already_running(pid: int | None) -> Reply:
    """`start` found it running; LSB calls that a success. No pid: it is being started, or is out of sight."""
    return Reply(f"Already running {pid}" if pid else "Already running")


def stopped(pid: int) -> Reply:
    """`stop` saw its end."""
    return Reply(f"Stopped {pid}")


def not_running() -> Reply:
    """`stop` had nothing to do; LSB calls that a success."""
    return Reply("Not running")


def still_there(pid: int) -> Reply:
    """`stop` could not end it: it waits in the kernel for a device that does not answer."""
    return Reply(f"Process {pid} is still there, even after SIGKILL", ExitCode.FAILED, is_error=True)


def restarted() -> Reply:
    """`restart` has a whole pool again."""
    return Reply("Restart successful")


def restart_failed(pid: int, code: ExitCode = ExitCode.FAILED) -> Reply:
    """`restart` could not stop the old ghost, or start the new one."""
    return Reply(f"Restart failed {pid}", code, is_error=True)


def reloading(pid: int) -> Reply:
    """`reload` has told the manager."""
    return Reply(f"Reloading {pid}")


def status(pid: int | None, has_pidfile: bool, counted: str = "") -> Reply:  # noqa: FBT001  two facts, one answer
    """`status`: running, dead with its pidfile left, or not running; ``counted`` is a second line."""
    if pid is not None:
        return Reply(f"Running {pid}\n{counted}" if counted else f"Running {pid}")
    return Reply("Not running", ExitCode.FAILED if has_pidfile else ExitCode.NOT_RUNNING)


def counted(spirits: int, in_hand: int, served: int) -> str:
    """What `status` says of a ghost whose spirits serve, beside that it runs."""
    return f"{in_hand} in hand, {served} served by {spirits} spirit{'s' * (spirits != 1)}"


def ready(pid: int) -> Reply:
    """`check --ready`: it can work."""
    return Reply(f"Ready {pid}")


def not_ready(pid: int) -> Reply:
    """`check --ready`: it runs, and cannot work: it starts, drains or stops, or no spirit is ready."""
    return Reply(f"Not ready {pid}", ExitCode.FAILED)


def live(pid: int, *, is_stopped: bool) -> Reply:
    """`check --live`: it runs; one that was stopped by a signal does not."""
    return Reply(f"Stopped by a signal {pid}", ExitCode.FAILED) if is_stopped else Reply(f"Running {pid}")


def dead() -> Reply:
    """`check`: there is no such process."""
    return Reply("Not running", ExitCode.NOT_RUNNING)


def incorrect(command: str) -> Reply:
    """There is no such command."""
    return Reply(
        f"Command incorrect: {command!r}; it takes one of {', '.join(COMMANDS)}", ExitCode.USAGE, is_error=True
    )
