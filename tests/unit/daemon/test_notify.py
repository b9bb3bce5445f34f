"""News to the init system: one datagram each, and nothing that can stop a ghost."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostd.daemon.notify import Notifier
from ghostd.linux import fds
from tests.support import deadline


@pytest.fixture(params=["path", "abstract"])
def init(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@ghostd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(5)
        yield listener, name


def test_each_piece_of_news_is_one_datagram(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    notifier = Notifier(address)
    assert notifier.is_heard
    before = fds.census()
    assert notifier.ready("4 of 4 spirits ready")
    assert listener.recv(4096) == b"READY=1\nSTATUS=4 of 4 spirits ready\nMAINPID=%d" % os.getpid()
    assert notifier.reloading("generation 2")
    first, clock, status = listener.recv(4096).decode().split("\n")
    assert (first, status) == ("RELOADING=1", "STATUS=generation 2")
    assert clock.partition("=")[0] == "MONOTONIC_USEC"
    assert int(clock.partition("=")[2]) > 0
    assert notifier.stopping("bye")
    assert listener.recv(4096) == b"STOPPING=1\nSTATUS=bye"
    assert notifier.status("one line\nREADY=1")
    assert listener.recv(4096) == b"STATUS=one line READY=1"  # nobody smuggles in another variable
    assert notifier.status("half \udc80")
    assert listener.recv(4096) == b"STATUS=half \\udc80"
    assert fds.census() == before


def test_the_address_is_taken_out_of_the_environment(init: tuple[socket.socket, str]) -> None:
    _, address = init
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    assert Notifier.from_environ(environ).is_heard
    assert environ == {"HOME": "/"}
    assert not Notifier.from_environ(environ).is_heard


@pytest.mark.parametrize(
    "address", [None, "", "/", "@", "relative", "vsock:2:3", "/nowhere/at/all", "@nobody", "/" + "x" * 300]
)
def test_without_a_listener_nothing_happens(address: str | None) -> None:
    assert Notifier(address).ready("whole") is False


def test_an_init_system_that_does_not_read_blocks_nobody(init: tuple[socket.socket, str]) -> None:
    _, address = init
    notifier = Notifier(address)
    with deadline(2.0):
        taken = sum(notifier.status(f"{number}") for number in range(2000))
    assert 0 < taken < 2000
