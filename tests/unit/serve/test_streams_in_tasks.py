"""async connection(reader, writer): the same promises, in the tasks of an event loop."""

import asyncio
import resource
import socket
import struct
import time
from contextlib import ExitStack

import pytest

from ghostd.linux.listening import admit_no_more
from ghostd.record import replace
from ghostd.serve.tasks import InTasks
from tests.support import wait_until
from tests.unit.serve.sockets import Log, connect, listen
from tests.unit.serve.streams import QUICK, Voice, serving, wait_a_while


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


def ask(client: socket.socket, text: bytes = b"hello") -> bytes:
    client.sendall(text)
    return client.recv(4096)


def test_many_are_answered_at_once_and_counted(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log) as server:
        clients = [connect(closing, listener) for _ in range(50)]
        assert [ask(client) for client in clients] == [b"hello"] * 50
        assert server.voice.in_hand == 50
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        assert [client.recv(1) for client in clients] == [b""] * 50
        wait_until(lambda: server.voice.served == 50)
    assert not log.lines


def test_no_more_than_the_limit_are_in_hand_and_the_others_wait(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log, manners=replace(QUICK, connections=3)) as server:
        clients = [connect(closing, listener) for _ in range(20)]
        for client in clients:
            assert ask(client) == b"hello"
            client.close()
        wait_until(lambda: server.voice.served == 20)
        assert server.voice.most_in_hand == 3


def test_what_a_handler_raises_is_logged_and_the_next_one_is_answered(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)

    async def fail(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        raise ValueError("on purpose")

    with serving(fail, listener, log=log) as server:
        for _ in range(3):
            client = connect(closing, listener)
            while client.recv(10):
                pass
        wait_until(lambda: server.voice.served == 3)
    assert len(log.lines) == 3
    assert "failed, the spirit goes on: ValueError('on purpose')" in log.lines[0]


@pytest.mark.parametrize("how", ["reset", "in the middle"])
def test_a_client_that_has_gone_is_no_failure_of_the_handler(closing: ExitStack, log: Log, how: str) -> None:
    listener = listen(closing)

    async def read(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)

    with serving(read, listener, log=log) as server:
        client = connect(closing, listener)
        client.sendall(b"x")
        wait_until(lambda: server.voice.in_hand == 1)
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        wait_until(lambda: server.voice.served == 1)
    (line,) = log.lines
    assert line.startswith("[debug] Connection of 127.0.0.1:")


def test_what_was_written_last_arrives_whole(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)

    async def much(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 10_000_000)

    with serving(much, listener, log=log):
        client = connect(closing, listener)
        assert len(client.makefile("rb").read()) == 10_000_000


def test_what_is_in_hand_is_finished(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log) as server:
        client = connect(closing, listener)
        assert ask(client) == b"hello"
        server.voice.ask()
        wait_a_while()
        assert not server.has_left
        assert ask(client, b"still there?") == b"still there?"
        client.close()
        server.wait_left()
    assert not log.lines


def test_the_last_one_answers_all_that_is_queued(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(1)
        await asyncio.sleep(0.02)
        writer.write(data)

    with serving(slow, listener, log=log, manners=replace(QUICK, connections=4)) as server:
        clients = [connect(closing, listener) for _ in range(40)]
        for client in clients:
            client.sendall(b"x")
        admit_no_more(listener)
        server.voice.ask()
        assert [client.recv(1) for client in clients] == [b"x"] * 40
        server.wait_left()
        assert server.voice.most_in_hand == 4


def test_what_takes_too_long_is_cancelled_counted_and_logged(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    ended: list[str] = []

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"x")
            await reader.read(1)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
            ended.append("cleaned up")
            raise

    limit = replace(QUICK, graceful_timeout=0.3)
    with serving(endless, listener, log=log, manners=limit) as server:
        clients = [connect(closing, listener) for _ in range(3)]
        assert [client.recv(1) for client in clients] == [b"x"] * 3
        begun = time.monotonic()
        server.voice.ask()
        server.wait_left()
        assert 0.2 < time.monotonic() - begun < 5
        assert ended == ["cleaned up"] * 3
    (line,) = log.lines
    assert line.startswith("[warn] Cut 3 connections in hand, 0.27 s after the spirit was asked to leave; ")


def test_without_a_limit_there_are_as_many_as_there_are_descriptors(log: Log) -> None:
    async def most() -> int:
        server = InTasks(echo, [], Voice(log), QUICK)
        server._acceptor.close()
        return server._most

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < asyncio.run(most()) < soft
