"""The same connections, taken in an event loop: asyncio's own and uvloop's."""

import asyncio
import errno
import os
import re
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ghostd.linux.listening import admit_no_more
from ghostd.serve.acceptor import Acceptor
from tests.support import NEEDS
from tests.unit.serve.sockets import Log, connect, listen, scripted

Factory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=["asyncio", "uvloop"])
def factory(request: pytest.FixtureRequest) -> Factory:
    if request.param == "asyncio":
        return asyncio.new_event_loop
    made: Factory = pytest.importorskip("uvloop", reason=f"{NEEDS}uvloop").new_event_loop
    return made


@pytest.fixture
def runner(factory: Factory) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=factory) as one:
        yield one


def waits_exclusively(listener: socket.socket) -> bool:
    """Whether an epoll of this process waits for this listener exclusively, as the kernel says."""
    found = False
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            text = Path(f"/proc/self/fdinfo/{fd}").read_text()
        except FileNotFoundError:
            continue
        for number, events in re.findall(r"^tfd: +(\d+) events: +(\w+) ", text, re.MULTILINE):
            found |= int(number) == listener.fileno() and bool(int(events, 16) & select.EPOLLEXCLUSIVE)
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the kernel sets no event
            await asyncio.sleep(0.001)


class Taker:
    """Takes in the running loop, and keeps what it took."""

    def __init__(self, closing: ExitStack, log: Log, *listeners: socket.socket, use_epoll: bool | None = None) -> None:
        self.acceptor = Acceptor(listeners, log, use_epoll=use_epoll)
        closing.callback(self.acceptor.close)
        self.taken: list[socket.socket] = []
        self._closing = closing
        self.acceptor.attach(asyncio.get_running_loop(), self.use)

    def use(self, connection: socket.socket, address: object) -> None:
        self.taken.append(self._closing.enter_context(connection))
        assert address or connection.family == socket.AF_UNIX


def test_it_waits_exclusively_in_the_loops_own_epoll(runner: asyncio.Runner, closing: ExitStack, log: Log) -> None:
    async def main() -> None:
        listener = listen(closing)
        taker = Taker(closing, log, listener)
        await until(lambda: waits_exclusively(listener))
        for count in range(1, 5):
            connect(closing, listener)
            await until(lambda count=count: len(taker.taken) == count)  # type: ignore[misc]
            assert waits_exclusively(listener)
        taker.acceptor.pause()
        assert not waits_exclusively(listener)
        connect(closing, listener)
        await asyncio.sleep(0.02)
        assert len(taker.taken) == 4
        taker.acceptor.resume()
        await until(lambda: len(taker.taken) == 5)
        await until(lambda: waits_exclusively(listener))

    runner.run(main())


@pytest.mark.parametrize("use_epoll", [None, False], ids=["epoll", "plain"])
def test_it_takes_all_from_several_listeners(
    runner: asyncio.Runner, closing: ExitStack, log: Log, use_epoll: bool | None
) -> None:
    async def main() -> None:
        listeners = [listen(closing), listen(closing)]
        taker = Taker(closing, log, *listeners, use_epoll=use_epoll)
        for listener in listeners * 10:
            connect(closing, listener)
        await until(lambda: len(taker.taken) == 20)
        assert not log.lines

    runner.run(main())


def test_paused_and_resumed_in_any_order_it_goes_on(runner: asyncio.Runner, closing: ExitStack, log: Log) -> None:
    async def main() -> None:
        listener = listen(closing)
        taker = Taker(closing, log, listener)
        for turn in range(20):
            for _ in range(turn % 3):
                taker.acceptor.pause()
                taker.acceptor.resume()
            if turn % 2:
                await asyncio.sleep(0)
            connect(closing, listener)
            await until(lambda turn=turn: len(taker.taken) == turn + 1)  # type: ignore[misc]

    runner.run(main())


def test_without_room_it_steps_back_and_comes_again(runner: asyncio.Runner, closing: ExitStack, log: Log) -> None:
    async def main() -> None:
        listener = scripted(closing, errno.EMFILE, errno.ECONNABORTED)
        taker = Taker(closing, log, listener)
        connect(closing, listener)
        await until(lambda: log.lines)
        assert not taker.taken and not waits_exclusively(listener)
        await until(lambda: taker.taken)
        assert len(log.lines) == 1

    runner.run(main())


def test_a_look_finds_what_nobody_was_woken_for(runner: asyncio.Runner, closing: ExitStack, log: Log) -> None:
    async def main() -> None:
        listener = listen(closing)
        taker = Taker(closing, log, listener)
        connect(closing, listener)
        taker.acceptor.look()
        assert len(taker.taken) == 1
        taker.acceptor.look()
        assert len(taker.taken) == 1

    runner.run(main())


def test_after_a_stop_the_loop_takes_nothing_more(runner: asyncio.Runner, closing: ExitStack, log: Log) -> None:
    async def main() -> None:
        listener = listen(closing)
        taker = Taker(closing, log, listener)
        for _ in range(3):
            connect(closing, listener)
        admit_no_more(listener)
        rest = [closing.enter_context(connection) for connection, _ in taker.acceptor.stop()]
        assert len(rest) == 3
        await asyncio.sleep(0.02)
        assert not taker.taken
        taker.acceptor.close()
        taker.acceptor.close()

    runner.run(main())


def test_four_loops_on_one_listener_take_turns(closing: ExitStack, factory: Factory) -> None:
    listener = listen(closing)
    reader, writer = os.pipe()
    spirits = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            _serve_for_ever(factory, listener, writer, number)
        spirits.append(pid)
    os.close(writer)
    try:
        told = b""
        while len(told) < len(spirits):
            told += os.read(reader, 4)
        answers = [connect(closing, listener).recv(1) for _ in range(200)]
        assert max(Counter(answers).values()) <= 0.3 * 200
    finally:
        for pid in spirits:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        os.close(reader)


def _serve_for_ever(factory: Factory, listener: socket.socket, ready: int, number: int) -> None:
    async def main() -> None:
        def answer(connection: socket.socket, _address: object) -> None:
            connection.sendall(b"%d" % number)
            connection.close()

        acceptor = Acceptor([listener], Log())
        acceptor.attach(asyncio.get_running_loop(), answer)
        await until(lambda: waits_exclusively(listener))
        os.write(ready, b"\0")
        await asyncio.Event().wait()

    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    finally:
        os._exit(1)
