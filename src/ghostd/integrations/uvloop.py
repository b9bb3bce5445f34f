"""The event loop of uvloop, for coroutine spirits: always a fresh one, for a loop of the manager's would be shared."""

from __future__ import annotations

import importlib.util

from ghostd.errors import OptionError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


def is_installed() -> bool:
    """Whether uvloop can be imported; does not import it."""
    return importlib.util.find_spec("uvloop") is not None


def factory(wanted: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop of a spirit; None: asyncio's own.

    OptionError naming the extra when uvloop is asked for by name and not installed.
    """
    if wanted == "asyncio" or (wanted == "auto" and not is_installed()):
        return None
    if not is_installed():
        raise OptionError(
            "option event_loop: 'uvloop' is not allowed here; it is not installed: pip install 'ghostd[uvloop]'"
        )
    return new_event_loop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A fresh loop, where uvloop is installed."""
    import uvloop  # noqa: PLC0415  an extra, and 70 ms

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
