"""A spirit that leaves finishes what it has in hand, and closes nothing on which a request may be under way."""

import re
import signal
import socket
import statistics
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.live.harness import AT_ONCE, Stage
from tests.live.web import ALL, ASGI_ONLY, Web, answer, each, get, run, wait_closed, wait_leaving
from tests.support import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]


def begin(web: Web, sock: socket.socket, path: str) -> None:
    """Ask, and wait until the application has begun to answer."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    wait_until(lambda: f"began {path}" in web.seen(), what="the request in hand")


@each(*ALL)
def test_a_connection_that_has_sent_nothing_yet_is_answered_and_told_to_close(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=20.0)
    with web.connected() as fresh, web.connected() as used:
        get(used)  # and one that was kept
        web.subject.send(signal.SIGHUP)
        wait_leaving(web)
        # The manager has asked; an answer that the spirit gives before it hears of it still keeps the connection.
        wait_until(lambda: is_told_to_close(used), what="an answer that says close")
        wait_closed(used)
        assert is_told_to_close(fresh)  # the first that it asks
        wait_closed(fresh)
    assert web.subject.quit() == 0


def is_told_to_close(sock: socket.socket) -> bool:
    """Ask once more on this connection: whether it was the last time."""
    got = get(sock)
    assert got.endswith(b"hello")
    return b"\r\nconnection: close" in got.lower()


@each(*ALL)
def test_a_connection_that_stays_idle_is_closed_after_the_grace(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.3)
    with web.connected() as fresh, web.connected() as used:
        get(used)
        begun = time.monotonic()
        web.subject.send(signal.SIGTERM)
        wait_closed(used)
        wait_closed(fresh)
        assert time.monotonic() - begun >= 0.3
    assert web.subject.wait_end() == 0
    assert not web.subject.logged(r"Traceback")


@each("uvicorn asgi", "hypercorn asgi", "waitress wsgi", "cheroot wsgi")  # granian closes the idle last
def test_what_is_in_hand_outlives_the_idle_that_are_closed(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.1)
    with web.connected() as idle, web.connected() as sock:
        get(idle)
        begin(web, sock, "/held")
        web.subject.send(signal.SIGTERM)
        wait_closed(idle)
        (stage.place / "seen.go").touch()
        assert answer(sock).endswith(b"hello")
    assert web.subject.wait_end() == 0
    assert not web.subject.logged(r"Traceback")


@each("waitress wsgi")
def test_what_has_been_idle_for_longer_than_waitress_keeps_it_is_closed_while_others_are_served(
    stage: Stage, kind: str
) -> None:
    web = run(stage, kind, spirits=1, waitress={"channel_timeout": 2, "cleanup_interval": 1})
    with web.connected() as idle, web.connected() as sock:
        get(idle)
        idle.settimeout(0.0)
        answers = 0
        while not is_closed(idle):
            assert get(sock).endswith(b"hello")
            answers += 1
        assert answers > 1
        assert get(sock).endswith(b"hello")
    assert web.subject.quit() == 0
    assert not web.subject.logged(r"Traceback")


def is_closed(sock: socket.socket) -> bool:
    """Whether the other end has closed this connection, which does not block."""
    with suppress(BlockingIOError):
        return sock.recv(1) == b""
    return False


@each(*ALL)
def test_a_request_in_hand_is_finished(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.1)
    with web.connected() as sock:
        begin(web, sock, "/slow")
        web.subject.send(signal.SIGTERM)
        wait_leaving(web)
        got = answer(sock)
        assert got.endswith(b"hello")
        assert b"\r\nconnection: close" in got.lower()
    assert web.subject.wait_end() == 0


@each("uvicorn asgi", "hypercorn asgi", "waitress wsgi", "cheroot wsgi")
def test_what_takes_too_long_is_cut_counted_and_logged(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.1, graceful_timeout=2.0)
    with web.connected() as sock:
        begin(web, sock, "/endless")
        web.subject.send(signal.SIGTERM)
        with suppress(ConnectionResetError):
            wait_closed(sock)
    web.subject.wait_end()
    (line,) = web.subject.logged(r"Cut \d+")
    told = re.search(r"Cut 1 connections with 1 requests in hand, (\S+) s after", line)
    assert told and 1.8 <= float(told[1]) < AT_ONCE, line


@each(*ASGI_ONLY)
def test_a_websocket_is_closed_with_a_frame_that_says_restart(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.2)
    assert not isinstance(web.address, str)
    with connect(f"ws://127.0.0.1:{web.address[1]}/", compression=None) as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=30.0) == "hello"
        web.subject.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=30.0)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert web.subject.wait_end() == 0
    assert "websocket.disconnect 1012" in web.seen()
    assert not web.subject.logged(r"Exception|Traceback")


@each(*ASGI_ONLY)
def test_a_websocket_that_asks_while_its_spirit_leaves_is_opened_and_closed_in_order(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=20.0)
    with web.connected() as sock:
        web.subject.send(signal.SIGHUP)
        wait_leaving(web)
        with (
            connect("ws://localhost/", sock=sock, compression=None) as websocket,
            pytest.raises(ConnectionClosed) as end,
        ):
            websocket.recv(timeout=30.0)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1012
    assert web.subject.quit() == 0


@each(*ASGI_ONLY)
def test_an_event_stream_ends_as_a_whole_answer(stage: Stage, kind: str) -> None:
    end_a_stream(run(stage, kind, spirits=1, keepalive_grace=0.2))


@each("uvicorn asgi")
def test_an_event_stream_ends_as_a_whole_answer_without_httptools_too(stage: Stage, kind: str) -> None:
    end_a_stream(run(stage, kind, spirits=1, keepalive_grace=0.2, uvicorn={"http": "h11"}))


def end_a_stream(web: Web) -> None:
    """Stop the ghost while it sends a stream."""
    with web.connected() as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = sock.recv(65536)
        while b"data: 2" not in got:
            got += sock.recv(65536)
        begun = time.monotonic()
        web.subject.send(signal.SIGTERM)
        while part := sock.recv(65536):
            got += part
        assert got.endswith(b"0\r\n\r\n"), "the last chunk: the client sees a whole answer"
        assert time.monotonic() - begun < AT_ONCE
    assert web.subject.wait_end() == 0
    wait_until(lambda: "stream gone" in web.seen(), what="the application to know")
    assert not web.subject.logged(r"Exception|Traceback|Cut")


def test_half_a_request_is_waited_for(stage: Stage) -> None:
    web = run(stage, "uvicorn asgi", spirits=1, keepalive_grace=0.1)
    with web.connected() as sock:
        get(sock)
        sock.sendall(b"GET / HTTP/1.1\r\nHos")
        web.subject.send(signal.SIGHUP)
        wait_leaving(web)
        time.sleep(0.5)  # five times as long as an idle connection may stay
        sock.sendall(b"t: localhost\r\n\r\n")
        assert answer(sock).endswith(b"hello")
    assert web.subject.quit() == 0


@each("uvicorn asgi", "waitress wsgi")
def test_an_answer_on_a_kept_connection_is_not_held_back(stage: Stage, kind: str) -> None:
    web = run(stage, kind)
    with web.connected() as sock:
        get(sock)
        took: list[float] = []
        for _ in range(50):
            begun = time.monotonic()
            get(sock)
            took.append(time.monotonic() - begun)
        # 40 ms each if the kernel waited for more to send, as it does without TCP_NODELAY.
        assert statistics.median(took) < 0.03
    assert isinstance(sock, socket.socket)
    assert web.subject.quit() == 0
