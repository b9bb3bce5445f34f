"""The command ``ghostd``: the short way where it can be taken, else the long one; and how errors end the process.

Rule: a message that is for the user is one line without a traceback, and the exit code is that of the error's class.
"""

from __future__ import annotations

import sys

from ghostd import __version__
from ghostd.cli import quick
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    ending = _Ending()
    with ending:
        ending.code = _run(sys.argv[1:] if words is None else words)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone away can still be told from a bug
    return ending.code


def _run(words: list[str]) -> int:
    if words in (["--version"], ["-V"]):
        print(f"ghostd {__version__}")
        return 0
    code = quick.run(words)
    if code is not None:
        return code
    from ghostd.cli import commands  # noqa: PLC0415  the short way needs none of it

    return commands.run(words)


class _Ending:
    """A block that may end by an error: the error is told, and becomes an exit code."""

    def __init__(self) -> None:
        self.code = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if error is None or isinstance(error, SystemExit):
            return False
        from ghostd.errors import ExitCode, GhostdBug, GhostdError  # noqa: PLC0415

        if isinstance(error, KeyboardInterrupt):
            self.code = 130  # 128 + SIGINT, as a shell says it
        elif isinstance(error, BrokenPipeError):
            self.code = ExitCode.OK  # whoever read the output has seen enough
            _discard_stdout()
        elif isinstance(error, GhostdError) and not isinstance(error, GhostdBug):
            from ghostd.cli import output  # noqa: PLC0415

            output.complain(str(error))
            self.code = error.code
        else:
            sys.excepthook(type(error), error, at)
            self.code = ExitCode.BUG
        return True


def _discard_stdout() -> None:
    """Python flushes stdout at its end; into a broken pipe that would be another error."""
    import os  # noqa: PLC0415

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
