"""Tries something in a process of its own, so that what it loads does not stay in this one: it becomes the manager."""

from __future__ import annotations

import os
import sys

from ghostd.errors import ExitCode, GhostdError, SystemFault, UserError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_BYTES_MAX = 65536


def attempt(call: Callable[[], None]) -> None:
    """Call it in a child; raises UserError or SystemFault with the words and the exit code of what it raised there."""
    pipe: tuple[int, ...] = ()
    try:
        reader, writer = pipe = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
    except OSError as no:
        for fd in pipe:
            os.close(fd)
        raise SystemFault(f"the options of the server could not be tried: {no.strerror}") from no
    if pid == 0:
        _end_with(call, writer)
    os.close(writer)
    try:
        told = _read_all(reader)
    finally:
        os.close(reader)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return
    if not told:
        raise SystemFault(f"the trial of the options of the server ended with {code}, and without a word")
    error = UserError(told)
    error.code = ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED
    raise error


def _end_with(call: Callable[[], None], writer: int) -> NoReturn:
    """In the child: call it, tell what it raised, end."""
    try:
        call()
    finally:
        error = sys.exc_info()[1]  # whatever it is: the code of a server may raise anything as it is loaded
        told = str(error) if isinstance(error, GhostdError) else f"{type(error).__name__}: {error}"
        code = ExitCode.BAD_TARGET if not isinstance(error, GhostdError) else error.code
        if error is not None:
            os.write(writer, told.encode(errors="replace")[:_BYTES_MAX])
        os._exit(ExitCode.OK if error is None else code)


def _read_all(reader: int) -> str:
    parts = []
    while part := os.read(reader, _BYTES_MAX):
        parts.append(part)
    return b"".join(parts).decode(errors="replace")
