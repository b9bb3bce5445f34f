"""A Starlette application with a lifespan, an event stream and a websocket. It knows nothing of ghostd."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

GREETING = "hello"


class Clock:
    """Counts the seconds of its application: what is begun and ended by the lifespan."""

    def __init__(self) -> None:
        self.seconds = 0
        self.moved = asyncio.Event()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.seconds += 1
            self.moved.set()
            self.moved = asyncio.Event()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Before the first request of a spirit and after its last. What it raises is a failed start, told in the log."""
    app.state.clock = Clock()
    running = asyncio.create_task(app.state.clock.run())
    yield
    running.cancel()


async def hello(_request: Request) -> JSONResponse:
    return JSONResponse({"greeting": GREETING, "pid": os.getpid()})


async def events(request: Request) -> StreamingResponse:
    """A line a second, for ever. When its spirit leaves, the stream ends as a whole answer; a browser comes back."""

    async def lines() -> AsyncIterator[str]:
        clock: Clock = request.app.state.clock
        while True:
            yield f"id: {clock.seconds}\ndata: {os.getpid()}\n\n"
            await clock.moved.wait()

    return StreamingResponse(lines(), media_type="text/event-stream")


async def echo(websocket: WebSocket) -> None:
    """What is said is said back. When its spirit leaves, the client gets 1012, "service restart"."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{os.getpid()}: {text}")


app = Starlette(
    lifespan=lifespan,
    routes=[Route("/", hello), Route("/events", events), WebSocketRoute("/echo", echo)],
)
