"""The event loop of uvloop, for coroutine spirits: always a fresh one, for a loop of the manager's would be shared."""

from __future__ import annotations

import importlib.util

from ghostd.errors import TargetError
from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def is_installed() -> bool:
    """Whether uvloop can be imported; does not import it."""
    return importlib.util.find_spec("uvloop") is not None


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A fresh loop; TargetError naming the extra when uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415  an extra, and 70 ms
    except ImportError as error:
        raise TargetError("event_loop is uvloop, which is not installed: pip install 'ghostd[uvloop]'") from error
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
