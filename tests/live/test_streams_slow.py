"""Spirits that answer streams, with clients that are slow, many or gone, handlers that hang, and no room."""

import signal
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest

from tests.live.harness import Stage, moment
from tests.live.streams import EACH, TCP, Dial, run
from tests.live.traffic import addresses_of, ask, connect
from tests.support import wait_until

pytestmark = pytest.mark.live

SHORT: dict[str, Any] = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.5, "silent_timeout": 0.2}


@EACH
def test_a_client_that_says_nothing_does_not_make_its_spirit_silent(stage: Stage, kind: str) -> None:
    subject, address = run(stage, kind, **SHORT)
    spirits = subject.spirits()
    with connect(address) as idle:
        idle.sendall(b"hello\n")
        assert idle.recv(100)
        until = moment() + 2.0
        wait_until(lambda: moment() > until)
        assert subject.spirits() == spirits and not subject.logged("no heartbeat")
        assert ask(address).endswith(b"hello\n")
    assert subject.quit() == 0


@pytest.mark.parametrize("kind", ["one by one", "in tasks"])
def test_a_handler_that_hangs_is_found_and_its_place_is_in_the_log(stage: Stage, kind: str) -> None:
    subject, address = run(stage, kind, **SHORT)
    with connect(address) as client:
        client.sendall(b"hang\n")
        assert client.recv(1) == b"" or True
    subject.wait_log("has no heartbeat")
    subject.wait_log(" in hang_here")
    subject.wait_log(r"Spirit \d+ stopped .*1 in hand: ")
    subject.wait_spirits(2)
    assert ask(address).endswith(b"hello\n")
    assert subject.quit() == 0


def test_one_thread_that_hangs_is_named_and_its_spirit_goes_on(stage: Stage) -> None:
    subject, address = run(stage, "in threads", spirits=1, graceful_timeout=0.5, **SHORT)
    spirits = subject.spirits()
    with connect(address) as client:
        client.sendall(b"hang\n")
        subject.wait_log("has neither ended nor waited for its other end for")
        subject.wait_log(" in hang_here")
        until = moment() + 1.0
        wait_until(lambda: moment() > until)
        assert subject.spirits() == spirits and ask(address).endswith(b"hello\n")
    assert subject.quit() == 0


def test_when_all_threads_hang_their_spirit_is_replaced(stage: Stage, dial: Dial) -> None:
    subject, address = run(stage, "in threads", spirits=1, connections=2, **SHORT)
    old = subject.spirits()
    clients = [dial(address) for _ in range(2)]
    for client in clients:
        client.sendall(b"hang\n")
    subject.wait_log("has no heartbeat")
    subject.wait_spirits(1, without=old)
    assert ask(address).endswith(b"hello\n")
    for client in clients:
        client.close()
    assert subject.quit() == 0


@pytest.mark.parametrize("kind", ["in threads", "in tasks"])
def test_five_hundred_idle_connections_harm_nobody(stage: Stage, dial: Dial, kind: str) -> None:
    subject, address = run(stage, kind, connections=300)
    idle = [dial(address) for _ in range(500)]
    for client in idle:
        client.sendall(b"begin")  # of a line whose end never comes
    for _ in range(50):
        assert ask(address).endswith(b"hello\n")
    subject.send(signal.SIGHUP)
    subject.wait_log("Reloading: ")
    for client in idle:
        client.sendall(b"\n")
        assert client.recv(100).endswith(b" begin\n")
        client.close()
    subject.wait_log("Reloaded: ")
    assert subject.quit() == 0
    assert not subject.logged(r"\[(error|warn)\]")


def test_clients_that_have_gone_are_nobodys_failure(stage: Stage, dial: Dial) -> None:
    subject, address = run(stage, "one by one", spirits=1)
    for _ in range(20):
        client = dial(address)
        client.sendall(b"slow 0.01\nslow 0.01\nslow 0.01\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # a reset
    assert ask(address).endswith(b"hello\n")
    assert subject.quit() == 0
    assert not subject.logged(r"\[(error|warn)\]|Traceback")


# ── no room ──
MOST = 500  # connections: for so many the one on seat 1 has room
CRAMPED = """\
import asyncio, resource

class Subject(Prefork):
    def spirit(self):
        self.spare = [os.dup(0) for _ in range(10)]
        most = len(os.listdir("/proc/self/fd")) + (600 if self.seat else 18)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return super().spirit()

    async def connection(self, reader, writer):
        writer.write(b"begin\\n")
        while line := await reader.readline():
            writer.write(b"%d " % os.getpid() + line)
"""


def test_without_a_descriptor_others_take_over_and_nothing_is_lost(stage: Stage, dial: Dial) -> None:
    subject = stage.run(CRAMPED, listen=TCP, spirits=2, connections=1000)
    (address,) = addresses_of(subject)
    idle: list[socket.socket] = []
    while not subject.logged("No room for a connection: EMFILE"):  # as soon as the one on seat 0 has taken its share
        idle.append(dial(address))
        assert idle[-1].recv(100) == b"begin\n"
        assert len(idle) < MOST, "the other one has room for all"
    assert [ask(address) for _ in range(50)] == [b"begin\n"] * 50
    assert len(subject.logged("No room for a connection: EMFILE")) == 1
    for client in idle:
        client.close()
    assert subject.quit() == 0


def test_what_nobody_has_room_for_is_closed_unread_and_told_once_and_later_it_goes_on(stage: Stage, dial: Dial) -> None:
    subject = stage.run(CRAMPED, listen=TCP, spirits=1, connections=1000)
    (address,) = addresses_of(subject)
    clients = [dial(address) for _ in range(60)]
    subject.wait_log("No room for a connection: EMFILE")
    assert clients[0].recv(100) == b"begin\n"
    for client in clients[-5:]:
        assert client.recv(1) == b""
    for client in clients:
        client.close()

    def is_answered() -> bool:
        with suppress(ConnectionResetError):  # closed unread, as before
            return ask(address) == b"begin\n"
        return False

    wait_until(is_answered)
    assert len(subject.logged("No room for a connection")) == 1
    assert subject.quit() == 0
