"""What every ASGI server in a spirit needs: the event loop with its beats, the lifespan, and a way for older apps.

The spirit is ready when the server accepts, not before: a lifespan that fails is a failed boot, with its traceback.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ghostd.errors import BootError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping

    from ghostd.serve.voice import Voice

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]  # ASGI 3
    LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LIFESPANS = ("auto", "on", "off")


def run(main: Callable[[], Coroutine[Any, Any, None]], factory: LoopFactory | None) -> None:
    """Run the server in a fresh event loop."""
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def begin_beats(voice: Voice, interval: float, look: Callable[[], None] | None = None) -> None:
    """From now on the spirit is ready, and the loop beats; one that is blocked is silent. ``look`` is called, too."""
    loop = asyncio.get_running_loop()

    def beat() -> None:
        voice.tick()
        if look is not None:
            look()
        loop.call_later(interval, beat)

    beat()


def leaving(voice: Voice) -> asyncio.Event:
    """An event that is set when the spirit is asked to leave."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    voice.when_leaving(lambda: _set(loop, asked))  # in a signal handler: the loop must be woken, too
    if voice.is_leaving:
        asked.set()
    return asked


def _set(loop: asyncio.AbstractEventLoop, asked: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: it has left
        loop.call_soon_threadsafe(asked.set)


def from_asgi2(app: Callable[[Message], Callable[[Receive, Send], Awaitable[None]]]) -> App:
    """An application of the older form, as one of the present form."""

    def call(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        return app(scope)(receive, send)

    return call


class Lifespan:
    """The application's start and end.

    ``auto``: an application that raises before it has answered does not know of lifespans, and goes without. What it
    reports as failed, or raises with ``on``, is a failed boot.
    """

    def __init__(self, app: App, mode: str) -> None:
        self.state: dict[str, Any] = {}  # what the application keeps for its requests
        self._app = app
        self._mode = mode
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application; raises what it raised, or BootError with the words of its report."""
        if self._mode == "off":
            return
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.ensure_future(_call(self._app, scope, self._inbox.get, self._answers.put))
        answer = await self._ask("lifespan.startup")
        if answer is None:
            error = self._end()
            if self._mode == "on":
                raise BootError("the application ended when it was asked to start (lifespan is on)") from error
        elif answer["type"] != "lifespan.startup.complete":
            raise BootError(_told("the application failed to start", answer, self._end()))

    async def shutdown(self) -> None:
        """End the application; raises BootError when it reports that it could not."""
        if self._task is None:
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            raise BootError(_told("the application failed to end", answer, None))
        if answer is None and (error := self._end()) is not None:
            raise error

    async def _ask(self, word: str) -> Message | None:
        """The answer; None when the application ended without one."""
        assert self._task is not None, "the application is asked only while it may run"
        await self._inbox.put({"type": word})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if not self._answers.empty():
            return self._answers.get_nowait()
        answer.cancel()
        return None

    def _end(self) -> BaseException | None:
        """What ended it, when it has ended; it is not asked again."""
        task, self._task = self._task, None
        return task.exception() if task is not None and task.done() and not task.cancelled() else None


async def _call(app: App, scope: Message, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _told(what: str, answer: Message, error: BaseException | None) -> str:
    """A failure in the words of the application: Starlette and others send the whole traceback."""
    words = str(answer.get("message") or error or "it gave no reason").rstrip()
    return f"{what}: {words}"
