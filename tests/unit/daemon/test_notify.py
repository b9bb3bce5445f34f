"""News to the init system: one datagram each, and nothing that can stop a ghost."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert notifier.stopping("bye", 0.0)
    assert listener.recv(4096) == b"STOPPING=1\nSTATUS=bye"
    assert notifier.status("half \udc80")
    assert listener.recv(4096) == b"STATUS=half \\udc80"
    assert notifier.alive()
    assert listener.recv(4096) == b"WATCHDOG=1"
    assert fds.census() == before


def test_a_reload_is_told_with_a_moment_after_the_request_for_it(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    asked = time.clock_gettime(time.CLOCK_MONOTONIC)  # systemd takes no moment from before its request
    assert Notifier(address).reloading("generation 2", 0.0)
    first, clock, status = listener.recv(4096).decode().split("\n")
    assert (first, status) == ("RELOADING=1", "STATUS=generation 2")
    name, _, microseconds = clock.partition("=")
    assert name == "MONOTONIC_USEC"
    assert int(asked * 1e6) <= int(microseconds) <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6


def test_how_long_the_next_step_may_take_goes_along(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    notifier = Notifier(address)
    for tell in (notifier.reloading, notifier.stopping, notifier.status):
        assert tell("a long one", 125.5)
        assert b"\nEXTEND_TIMEOUT_USEC=125500000" in listener.recv(4096)


def test_nobody_smuggles_in_another_variable(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    assert Notifier(address).status("one line\nREADY=1")
    assert listener.recv(4096) == b"STATUS=one line READY=1"


def test_a_descriptor_goes_along_to_be_stored_and_comes_out_as_the_same_file(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    notifier = Notifier(address)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert notifier.store("ghostd=web", server.fileno())
        text, (fd,), _, _ = socket.recv_fds(listener, 4096, 4)
        assert text == b"FDSTORE=1\nFDNAME=ghostd=web"
        with socket.socket(fileno=fd) as kept:
            assert kept.getsockname() == server.getsockname()
    assert notifier.drop("ghostd=web")
    assert listener.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=ghostd=web"


def test_it_is_waited_for_until_the_init_system_has_forgotten_what_it_kept(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    heard: list[bytes] = []

    def answer() -> None:
        heard.extend(listener.recv(4096) for _ in range(2))
        text, fds, _, _ = socket.recv_fds(listener, 4096, 4)
        heard.append(text)
        for fd in fds:
            os.close(fd)

    before = fds.census()
    init_system = threading.Thread(target=answer)
    init_system.start()
    with deadline(5.0):
        Notifier(address).forget(["a", "b"], limit=30.0)
    init_system.join()
    assert heard == [b"FDSTOREREMOVE=1\nFDNAME=a", b"FDSTOREREMOVE=1\nFDNAME=b", b"BARRIER=1"]
    assert fds.census() == before


def test_an_init_system_that_does_not_answer_is_waited_for_a_moment_only(init: tuple[socket.socket, str]) -> None:
    _, address = init
    with deadline(10.0):
        Notifier(address).forget(["a"], limit=0.05)
        Notifier(None).forget(["a"], limit=30.0)
        Notifier("/nowhere").forget(["a"], limit=30.0)


def test_a_descriptor_that_is_closed_ends_nobody(init: tuple[socket.socket, str]) -> None:
    listener, address = init
    assert Notifier(address).store("gone", 999_999), "no second try would help"
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(4096)


def test_what_is_for_the_manager_is_taken_out_of_the_environment(init: tuple[socket.socket, str]) -> None:
    _, address = init
    environ = {
        "NOTIFY_SOCKET": address,
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier.from_environ(environ)
    assert notifier.is_heard
    assert notifier.watchdog == 3.0
    assert environ == {"HOME": "/"}
    assert not Notifier.from_environ(environ).is_heard


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": ""}, 0.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "1e6"}, 0.0),
        ({"WATCHDOG_USEC": "٣"}, 0.0),
        ({"WATCHDOG_USEC": "9" * 5000}, 0.0),
    ],
)
def test_the_watchdog_of_another_process_or_none_is_no_watchdog(said: dict[str, str], seconds: float) -> None:
    assert Notifier.from_environ({"NOTIFY_SOCKET": "/nowhere", **said}).watchdog == seconds
    assert Notifier.from_environ(dict(said)).watchdog == 0.0, "there is nobody to be told"


@given(st.dictionaries(st.sampled_from(["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]), st.text()))
def test_whatever_the_environment_says_nothing_is_raised(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environ(environ)
    assert environ == {}
    assert notifier.watchdog >= 0.0
    if notifier.is_heard:
        assert notifier.status("here")


@pytest.mark.parametrize(
    "address",
    [None, "", "/", "@", "relative", "vsock:2:3", "/nowhere/at/all", "@nobody", "/" + "x" * 300, "/nul\0", "/\udc80"],
)
def test_without_a_listener_there_is_nothing_to_do(address: str | None) -> None:
    assert Notifier(address).ready("whole")


def test_an_init_system_that_does_not_read_blocks_nobody_and_is_to_be_told_again(
    init: tuple[socket.socket, str],
) -> None:
    listener, address = init
    notifier = Notifier(address)
    with deadline(10.0):
        taken = sum(notifier.status(f"{number}") for number in range(2000))
    assert 0 < taken < 2000
    listener.recv(4096)
    assert notifier.status("now there is room")
