"""connection(sock, address): what is promised to whoever writes it, whether one is answered at a time or several."""

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from ghostd.linux.listening import admit_no_more
from ghostd.record import replace
from ghostd.serve.connection import Connection
from ghostd.serve.manners import Manners
from tests.support import wait_until
from tests.unit.serve.sockets import Log, connect, listen, listen_unix
from tests.unit.serve.streams import QUICK, serving, wait_a_while

BOTH: Final = pytest.mark.parametrize(
    "manners", [QUICK, replace(QUICK, connections=3)], ids=["one by one", "in threads"]
)
THREE: Final = replace(QUICK, connections=3)


def echo(sock: Connection, _address: object) -> None:
    while data := sock.recv(4096):
        sock.sendall(data)


def ask(client: socket.socket, text: bytes = b"hello") -> bytes:
    client.sendall(text)
    return client.recv(4096)


def reset(client: socket.socket) -> None:
    """End the connection by a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# ── answering ──
@BOTH
def test_each_connection_is_answered_counted_and_closed(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log, manners=manners) as server:
        for number in range(5):
            client = connect(closing, listener)
            assert ask(client) == b"hello"
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
            wait_until(lambda number=number: server.voice.served == number + 1)  # type: ignore[misc]
            assert server.voice.in_hand == 0
    assert not log.lines


@BOTH
def test_the_address_of_the_other_end_is_told(closing: ExitStack, log: Log, tmp_path: Path, manners: Manners) -> None:
    tcp, unix = listen(closing), listen_unix(closing, tmp_path / "socket")
    told: list[object] = []

    def note(sock: Connection, address: object) -> None:
        told.append(address)
        assert sock.address == address

    with serving(note, tcp, unix, log=log, manners=manners):
        client = connect(closing, tcp)
        assert client.recv(1) == b""
        assert connect(closing, unix).recv(1) == b""
    assert told == [client.getsockname(), ""]
    assert not log.lines


@BOTH
def test_what_a_handler_raises_is_logged_with_its_traceback_and_the_next_one_is_answered(
    closing: ExitStack, log: Log, manners: Manners
) -> None:
    listener = listen(closing)

    def fail(sock: Connection, _address: object) -> None:
        sock.makefile("rb").readline()  # a file that is never closed, and that the traceback keeps
        raise ValueError("on purpose")

    with serving(fail, listener, log=log, manners=manners) as server:
        for _ in range(3):
            client = connect(closing, listener)
            client.sendall(b"\n")
            assert client.recv(1) == b"", "it is closed"
        wait_until(lambda: server.voice.served == 3)
    assert len(log.lines) == 3
    assert log.lines[0].startswith("Connection of 127.0.0.1:")
    assert "failed, the spirit goes on: ValueError('on purpose')" in log.lines[0]


@BOTH
@pytest.mark.parametrize("through_a_file", [False, True], ids=["socket", "file"])
def test_a_client_that_has_gone_is_no_failure_of_the_handler(
    closing: ExitStack, log: Log, manners: Manners, through_a_file: bool
) -> None:
    listener = listen(closing)

    def shout(sock: Connection, _address: object) -> None:
        if through_a_file:
            with sock.makefile("wb") as file:
                while True:
                    file.write(b"x" * 65536)
        while True:
            sock.sendall(b"x" * 65536)

    with serving(shout, listener, log=log, manners=manners) as server:
        client = connect(closing, listener)
        client.recv(1)
        reset(client)
        wait_until(lambda: server.voice.served == 1)
    (line,) = log.lines
    assert line.startswith("[debug] Connection of 127.0.0.1:") and " ended: " in line


@BOTH
def test_an_error_of_another_connection_in_the_handler_is_a_failure(
    closing: ExitStack, log: Log, manners: Manners
) -> None:
    listener = listen(closing)

    def fail(_sock: Connection, _address: object) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "of a database")

    with serving(fail, listener, log=log, manners=manners):
        assert connect(closing, listener).recv(1) == b""
    assert "failed" in log.lines[0]


@BOTH
def test_a_client_that_is_silent_for_too_long_is_a_timeout_of_the_handler(
    closing: ExitStack, log: Log, manners: Manners
) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log, manners=replace(manners, idle_timeout=0.05)) as server:
        client = connect(closing, listener)
        assert ask(client) == b"hello"
        assert client.recv(1) == b""
        wait_until(lambda: server.voice.served == 1)
    (line,) = log.lines
    assert line.startswith("[debug] ") and "timed out" in line


@BOTH
def test_a_handler_may_close_the_socket_itself(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)

    def close(sock: Connection, _address: object) -> None:
        sock.sendall(b"bye")
        sock.close()

    with serving(close, listener, log=log, manners=manners):
        assert [connect(closing, listener).recv(3) for _ in range(5)] == [b"bye"] * 5
    assert not log.lines


@BOTH
def test_no_descriptor_is_left(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)
    before = len(os.listdir("/proc/self/fd"))
    with serving(echo, listener, log=log, manners=manners):
        for _ in range(10):
            with socket.create_connection(listener.getsockname()) as client:
                client.settimeout(10)
                ask(client)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) == before)


# ── waiting and beats ──
def test_a_wait_for_the_other_end_is_no_silence(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log) as server:
        client = connect(closing, listener)
        for number in range(1, 4):
            ask(client)
            wait_until(lambda number=number: server.voice.rests == 2 * number + 1)  # type: ignore[misc]
        client.shutdown(socket.SHUT_WR)
        client.recv(1)


def test_it_beats_while_it_waits_for_connections(closing: ExitStack, log: Log) -> None:
    with serving(echo, listen(closing), log=log) as server:
        wait_until(lambda: server.voice.beats > 5)


def wait_word(sock: Connection, _address: object) -> None:
    while sock.wait_readable():
        data = sock.recv(4096)
        if not data:
            return
        sock.sendall(data)
    sock.sendall(b"bye")


@BOTH
def test_a_handler_can_wait_for_a_word_or_for_the_request_to_leave(
    closing: ExitStack, log: Log, manners: Manners
) -> None:
    listener = listen(closing)
    with serving(wait_word, listener, log=log, manners=manners) as server:
        client = connect(closing, listener)
        assert ask(client) == b"hello"
        begun = time.monotonic()
        server.voice.ask()
        assert client.recv(10) == b"bye"
        server.wait_left()
        assert time.monotonic() - begun < 5
    assert not log.lines


@BOTH
def test_what_has_come_before_the_request_to_leave_is_readable(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)
    asked = threading.Event()

    def late(sock: Connection, address: object) -> None:
        asked.wait(10)
        wait_word(sock, address)

    with serving(late, listener, log=log, manners=manners) as server:
        client = connect(closing, listener)
        client.sendall(b"hello")
        wait_until(lambda: server.voice.in_hand)
        server.voice.ask()
        asked.set()
        assert client.makefile("rb").read() == b"hellobye"


@BOTH
def test_a_wait_for_a_word_has_the_timeout_of_the_socket(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)
    with serving(wait_word, listener, log=log, manners=replace(manners, idle_timeout=0.05)):
        assert connect(closing, listener).recv(1) == b""
    (line,) = log.lines
    assert line.startswith("[debug] ") and "nothing came for 0.05 s" in line


# ── leaving ──
@BOTH
def test_what_is_in_hand_is_finished(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log, manners=manners) as server:
        client = connect(closing, listener)
        assert ask(client) == b"hello"
        server.voice.ask()
        wait_a_while()
        assert not server.has_left
        assert ask(client, b"still there?") == b"still there?"
        client.close()
        server.wait_left()
    assert not log.lines


@BOTH
def test_one_that_leaves_others_behind_leaves_them_the_queue(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener, begun, go = listen(closing), threading.Event(), threading.Event()

    def slow(sock: Connection, _address: object) -> None:
        begun.set()
        go.wait(10)
        sock.sendall(b"x")

    with serving(slow, listener, log=log, manners=manners) as server:
        clients = [connect(closing, listener)]
        assert begun.wait(10)
        server.voice.ask()
        clients += [connect(closing, listener) for _ in range(10)]
        wait_a_while(0.05)
        go.set()
        server.wait_left()
        assert 1 <= server.voice.served <= 2
    with serving(echo, listener, log=log) as other:
        for client in clients[server.voice.served :]:  # the queue is one: first come, first served
            assert ask(client) == b"hello"
            client.close()
    assert other.voice.served + server.voice.served == 11


@BOTH
def test_the_last_one_answers_all_that_is_queued(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener, go = listen(closing), threading.Event()

    def slow(sock: Connection, _address: object) -> None:
        go.wait(10)
        sock.sendall(sock.recv(1))

    with serving(slow, listener, log=log, manners=manners) as server:
        clients = [connect(closing, listener) for _ in range(30)]
        for client in clients:
            client.sendall(b"x")
        admit_no_more(listener)
        server.voice.ask()
        go.set()
        assert [client.recv(1) for client in clients] == [b"x"] * 30
        server.wait_left()
        assert server.voice.most_in_hand <= (manners.connections or 1)


@BOTH
def test_what_takes_too_long_is_cut_in_order_counted_and_logged(closing: ExitStack, log: Log, manners: Manners) -> None:
    listener = listen(closing)
    ended: list[bytes] = []

    def until_the_end(sock: Connection, _address: object) -> None:
        sock.sendall(b"x")
        ended.append(sock.recv(1))

    limit = replace(manners, graceful_timeout=0.3)
    with serving(until_the_end, listener, log=log, manners=limit) as server:
        clients = [connect(closing, listener) for _ in range(manners.connections or 1)]
        assert [client.recv(1) for client in clients] == [b"x"] * len(clients)
        begun = time.monotonic()
        server.voice.ask()
        server.wait_left()
        assert 0.2 < time.monotonic() - begun < 5
    assert ended == [b""] * len(clients), "the handlers came to their end"
    what = "1 connection" if len(clients) == 1 else "3 connections"
    (line,) = log.lines
    assert line.startswith(f"[warn] Cut {what} in hand, {limit.patience:g} s after the spirit was asked to leave; ")


# ── several at once ──
def test_several_are_answered_at_once_and_never_more(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    with serving(echo, listener, log=log, manners=THREE) as server:
        before = threading.active_count()
        for _ in range(20):
            clients = [connect(closing, listener) for _ in range(5)]
            assert [ask(client) for client in clients[:3]] == [b"hello"] * 3
            for client in clients:
                client.close()
        wait_until(lambda: server.voice.served == 100)
        assert server.voice.most_in_hand == 3
        assert threading.active_count() - before <= 3


def waiting(sock: Connection, _address: object) -> None:
    sock.recv(1)


def hanging(over: threading.Event) -> Callable[[Connection, object], None]:
    def hang_here(sock: Connection, _address: object) -> None:
        sock.sendall(b"x")
        over.wait(10)

    return hang_here


def test_one_that_hangs_is_named_with_its_place_and_the_others_go_on(closing: ExitStack, log: Log) -> None:
    listener, over = listen(closing), threading.Event()
    with serving(hanging(over), listener, log=log, manners=THREE) as server:
        connect(closing, listener).recv(1)
        wait_until(lambda: log.lines)
        beats = server.voice.beats
        wait_until(lambda: server.voice.beats > beats + 3)
        over.set()
    (line,) = log.lines
    assert line.startswith("[warn] Connection of 127.0.0.1:")
    assert "has neither ended nor waited for its other end for 0.2" in line
    assert "in hang_here" in line


def test_when_all_hang_it_is_silent_and_when_one_waits_it_is_not(closing: ExitStack, log: Log) -> None:
    listener, over = listen(closing), threading.Event()
    with serving(hanging(over), listener, log=log, manners=THREE) as server:
        for _ in range(3):
            connect(closing, listener).recv(1)
        wait_until(lambda: len(log.lines) == 3)
        beats = server.voice.beats
        wait_a_while(0.2)
        assert server.voice.beats <= beats + 1
        over.set()
        wait_until(lambda: server.voice.served == 3)
        wait_until(lambda: server.voice.beats > beats + 3)
    with serving(waiting, listener, log=log, manners=THREE) as server:
        clients = [connect(closing, listener) for _ in range(3)]
        wait_until(lambda: server.voice.in_hand == 3)
        beats = server.voice.beats
        wait_until(lambda: server.voice.beats > beats + 5)
        for client in clients:
            client.close()
