"""What a pool halted of, as an error with its exit code."""

from __future__ import annotations

import os

from ghostd.engine import words
from ghostd.errors import BootError, ExitCode, SystemFault, UserError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

    from ghostd.engine.perform import Performer

# Exit codes of a spirit whose last words say by themselves what has to be mended.
_TO_MEND: Final = frozenset((ExitCode.BAD_OPTION, ExitCode.BAD_TARGET, ExitCode.DENIED, ExitCode.BAD_CONFIG))


def raise_if_bad(performer: Performer) -> None:
    """Raise what the pool halted of, unless it was asked to halt."""
    halt = performer.halted
    if halt is None or halt.code is ExitCode.OK:
        return
    _, text = words.halted(os.getpid(), halt)
    if halt.code is not ExitCode.BOOT_FAILED:
        raise SystemFault(text)
    if performer.last_code in _TO_MEND:
        error = UserError(performer.last_words)
        error.code = ExitCode(performer.last_code)
        raise error
    raise BootError(f"{text}\n{performer.last_words}".rstrip())
