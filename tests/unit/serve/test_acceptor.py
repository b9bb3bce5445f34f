"""Taking connections: in turns, none lost, and what is done when there is no room. Real sockets, one process."""

import errno
import os
import resource
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from ghostd.linux.listening import admit_no_more
from ghostd.serve import acceptor as subject
from ghostd.serve.acceptor import Acceptor
from tests.support import wait_until
from tests.unit.serve.sockets import Log, connect, listen, listen_unix, opened, scripted, take

EPOLL: Final = pytest.mark.parametrize("use_epoll", [True, False], ids=["epoll", "poll"])


# ── taking ──
@EPOLL
def test_a_connection_wakes_the_sleeper_and_is_taken_with_its_address(
    closing: ExitStack, log: Log, use_epoll: bool
) -> None:
    listener = listen(closing)
    acceptor = opened(closing, log, listener, use_epoll=use_epoll)
    assert acceptor.accept_nowait() is None
    client = connect(closing, listener)
    begun = time.monotonic()
    acceptor.wait(10)
    assert time.monotonic() - begun < 5
    taken = acceptor.accept_nowait()
    assert taken
    connection = closing.enter_context(taken[0])
    assert taken[1] == client.getsockname()
    assert connection.getblocking() and not connection.get_inheritable()
    assert acceptor.accepted == 1


@EPOLL
def test_no_listener_is_starved_by_another(closing: ExitStack, log: Log, tmp_path: Path, use_epoll: bool) -> None:
    tcp = listen(closing)
    unix = listen_unix(closing, tmp_path / "socket")
    acceptor = opened(closing, log, tcp, unix, use_epoll=use_epoll)
    for _ in range(5):
        connect(closing, tcp)
        connect(closing, unix)
    families = [take(closing, acceptor).family for _ in range(10)]
    assert families == [socket.AF_INET, socket.AF_UNIX] * 5


@EPOLL
def test_a_wake_ends_the_sleep_and_is_kept_for_the_next_one(closing: ExitStack, log: Log, use_epoll: bool) -> None:
    acceptor = opened(closing, log, listen(closing), use_epoll=use_epoll)
    for _ in range(100_000):
        acceptor.wake()  # however often: it never blocks
    begun = time.monotonic()
    while time.monotonic() - begun < 5:
        acceptor.wait(0.05)
        if time.monotonic() - begun >= 0.05:
            break
    assert 0.05 <= time.monotonic() - begun < 5, "heard, and then forgotten"
    threading.Timer(0.02, acceptor.wake).start()
    begun = time.monotonic()
    acceptor.wait(10)
    assert time.monotonic() - begun < 5


# ── turns ──
def test_four_that_sleep_on_one_listener_take_turns(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    over = threading.Event()
    taken: list[int] = []

    def work(number: int) -> None:
        acceptor = Acceptor([listener], log)
        while not over.is_set():
            acceptor.wait(0.5)
            found = acceptor.accept_nowait()
            if found:
                taken.append(number)
                found[0].close()
        acceptor.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 201):
        assert connect(closing, listener).recv(1) == b""
        wait_until(lambda number=number: len(taken) == number)  # type: ignore[misc]
        time.sleep(0.001)  # all sleep again
    over.set()
    for thread in threads:
        thread.join()
    assert max(Counter(taken).values()) <= 0.3 * 200


def test_what_another_was_woken_for_and_never_took_is_found_at_the_next_look(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    first, second = Acceptor([listener], log), opened(closing, log, listener)
    sleeper = threading.Thread(target=first.wait, args=(10,))
    sleeper.start()
    connect(closing, listener)
    second.wait(0.2)
    first.wake()
    sleeper.join()
    first.close()
    take(closing, second)


# ── not taking ──
@EPOLL
def test_while_paused_connections_are_left_to_others(closing: ExitStack, log: Log, use_epoll: bool) -> None:
    listener = listen(closing)
    acceptor, other = (opened(closing, log, listener, use_epoll=use_epoll) for _ in range(2))
    acceptor.pause()
    connect(closing, listener)
    begun = time.monotonic()
    acceptor.wait(0.05)
    assert time.monotonic() - begun >= 0.05, "it sleeps on"
    assert acceptor.accept_nowait() is None
    take(closing, other)
    connect(closing, listener)
    acceptor.resume()
    take(closing, acceptor)


@EPOLL
def test_a_stop_takes_one_of_each_listener_and_leaves_the_rest(closing: ExitStack, log: Log, use_epoll: bool) -> None:
    listeners = [listen(closing), listen(closing)]
    leaving, staying = (opened(closing, log, *listeners, use_epoll=use_epoll) for _ in range(2))
    for listener in listeners * 3:
        connect(closing, listener)
    last = [closing.enter_context(connection) for connection, _ in leaving.stop()]
    assert len(last) == 2
    assert leaving.accept_nowait() is None
    for _ in range(4):
        take(closing, staying)


@EPOLL
def test_a_stop_takes_all_that_is_queued_at_listeners_that_were_shut(
    closing: ExitStack, log: Log, tmp_path: Path, use_epoll: bool
) -> None:
    tcp, unix, other = listen(closing), listen_unix(closing, tmp_path / "socket"), listen(closing)
    acceptor = opened(closing, log, tcp, unix, other, use_epoll=use_epoll)
    clients = [connect(closing, listener) for listener in [tcp, unix, other] * 20]
    admit_no_more(tcp)
    admit_no_more(unix)
    rest = [closing.enter_context(connection) for connection, _ in acceptor.stop()]
    assert [sum(one.getsockname() == listener.getsockname() for one in rest) for listener in (tcp, unix, other)] == [
        20,
        20,
        1,
    ]
    for one in rest:
        one.sendall(b"x")
    assert [client.recv(1) for client in clients[:2]] == [b"x", b"x"]


def test_it_can_be_closed_twice_and_leaves_no_descriptor(closing: ExitStack, log: Log) -> None:
    listener = listen(closing)
    before = set(os.listdir("/proc/self/fd"))
    for use_epoll in (True, False):
        acceptor = Acceptor([listener], log, use_epoll=use_epoll)
        acceptor.wait(0)
        acceptor.close()
        acceptor.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert listener.fileno() >= 0


# ── errors ──
@pytest.mark.parametrize(
    "number",
    [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH],
    ids=errno.errorcode.get,
)
def test_a_connection_that_ended_before_it_was_taken_is_counted_and_the_next_one_taken(
    closing: ExitStack, log: Log, number: int
) -> None:
    listener = scripted(closing, number, number)
    acceptor = opened(closing, log, listener)
    connect(closing, listener)
    take(closing, acceptor)
    assert (acceptor.accepted, acceptor.stillborn) == (1, 2)
    assert not log.lines


def test_a_flood_of_stillborn_connections_does_not_keep_a_spirit_for_ever(closing: ExitStack, log: Log) -> None:
    listener = scripted(closing, *[errno.ECONNABORTED] * 1000)
    acceptor = opened(closing, log, listener)
    assert acceptor.accept_nowait() is None
    assert 0 < len(listener.script) < 1000


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
@EPOLL
def test_without_room_it_steps_back_so_that_others_can_take_the_connection(
    closing: ExitStack, log: Log, number: int, use_epoll: bool
) -> None:
    listener = scripted(closing, number)
    acceptor = opened(closing, log, listener, use_epoll=use_epoll)
    client = connect(closing, listener)
    acceptor.wait(1)
    assert acceptor.accept_nowait() is None
    assert acceptor.accept_nowait() is None, "not even looked at"
    begun = time.monotonic()
    acceptor.wait(10)
    assert time.monotonic() - begun < 5, "it comes back by itself"
    connection = take(closing, acceptor)
    connection.sendall(b"x")
    assert client.recv(1) == b"x"
    assert acceptor.turned_away == 0
    (line,) = log.lines
    assert line.startswith(f"[warn] No room for a connection: {errno.errorcode[number]}, ")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert f"may have {soft} descriptors" in line


def until_full() -> list[int]:
    """Open descriptors until there is no more."""
    held: list[int] = []
    with suppress(OSError):
        while True:
            held.append(os.dup(0))
    return held


def test_what_nobody_could_take_for_long_is_closed_unread_and_counted(
    closing: ExitStack, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "_PATIENCE", 0.1)
    listener = listen(closing)
    acceptor = opened(closing, log, listener)
    clients = [connect(closing, listener) for _ in range(3)]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, limit[1]))
    try:
        held += until_full()

        def turned_away() -> bool:
            acceptor.wait(0.05)
            assert acceptor.accept_nowait() is None
            return acceptor.turned_away == 3

        wait_until(turned_away)
        assert [client.recv(1) for client in clients] == [b""] * 3
        os.close(held.pop())
        os.close(held.pop())
        connect(closing, listener)
        take(closing, acceptor)
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert len(log.lines) == 1, "told once, not at each"


def test_an_error_that_means_nothing_of_this_is_raised(closing: ExitStack, log: Log) -> None:
    listener = scripted(closing, errno.ENOTSOCK)
    acceptor = opened(closing, log, listener)
    with pytest.raises(OSError, match="on non-socket"):
        acceptor.accept_nowait()


def test_a_shut_unix_listener_gives_what_is_queued_and_then_nothing(
    closing: ExitStack, log: Log, tmp_path: Path
) -> None:
    listener = listen_unix(closing, tmp_path / "socket")
    acceptor = opened(closing, log, listener)
    connect(closing, listener)
    admit_no_more(listener)
    take(closing, acceptor)
    assert acceptor.accept_nowait() is None
