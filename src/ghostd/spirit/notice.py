"""The request to leave, as coroutines wait for it. Loads asyncio, and so is imported in coroutine spirits only."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from ghostd.spirit.context import Context

    T = TypeVar("T")


class Notice:
    """One future a loop, whoever and however many wait for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._futures: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}

    async def wait(self, limit: float | None = None) -> None:
        """Until the spirit is asked to leave, or so many seconds have gone by."""
        await asyncio.wait((self._asked(),), timeout=limit)

    async def unless(self, work: Awaitable[T]) -> T | None:
        """The result of this work, or None if the spirit is asked to leave before, which ends the work."""
        doing, asked = asyncio.ensure_future(work), self._asked()
        try:
            if asked.done():
                await asyncio.sleep(0)  # what is there already is taken
            await asyncio.wait((doing, asked), return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else None
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait((doing,))

    def _asked(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future = self._futures.get(loop)
        if future is None:
            future = self._futures[loop] = loop.create_future()
            self._context.when_leaving(lambda: _wake(loop, future))
            if self._context.is_leaving:
                _finish(future)
        return future


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_finish, future)  # called in a signal handler: the loop may be asleep


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
