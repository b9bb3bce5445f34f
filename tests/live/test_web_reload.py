"""No request is lost while spirits are replaced, whichever server is in them."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from bench.serve.client import Outcome
from tests.live.harness import Stage
from tests.live.web import ALL, Web, each, run
from tests.support import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]

RELOADS = 2  # bench/serve makes a hundred, and as many kills
KILLS = 5
CLIENTS = 8


def assert_nothing_is_lost(web: Web) -> None:
    """With connections that are kept, and with one for each request."""
    kept = reload_under_load(web, keep_alive=True, before=0)
    assert not kept.failed, kept.failed
    assert kept.answered > 100
    assert kept.closes > 0, "clients were told to come back on another connection"
    single = reload_under_load(web, keep_alive=False, before=RELOADS)
    assert not single.failed, single.failed
    assert single.answered > 100
    assert web.subject.quit() == 0


def reload_under_load(web: Web, *, keep_alive: bool, before: int) -> Outcome:
    """Ask without a pause while the pool is reloaded some times."""

    def reload() -> None:
        for number in range(before, before + RELOADS):
            web.subject.send(signal.SIGHUP)
            web.subject.wait_log(r"\] Reloaded:", count=number + 1)

    return ask_during(web, reload, keep_alive=keep_alive)


def answering(web: Web) -> set[int]:
    """The spirits that have answered one of a few requests."""
    return {int(body) for _ in range(8) for body in web.ask("/pid").bodies}


def ask_during(web: Web, what: Callable[[], None], *, keep_alive: bool) -> Outcome:
    """Ask without a pause while this is done to the pool."""
    done = threading.Event()
    failures: list[BaseException] = []

    def do() -> None:
        try:
            what()
        except (AssertionError, OSError) as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=do)
    thread.start()
    outcome = web.client(connections=CLIENTS, keep_alive=keep_alive).run(seconds=50.0, until=done.is_set)
    thread.join()
    assert not failures, failures
    return outcome


@each(*ALL)
def test_reloads_under_load_lose_no_request(stage: Stage, kind: str) -> None:
    web = run(stage, kind, keepalive_grace=0.5)
    assert_nothing_is_lost(web)


@each("uvicorn asgi", "granian wsgi", "waitress wsgi")
def test_reloads_under_load_lose_no_request_on_a_unix_socket(stage: Stage, kind: str) -> None:
    web = run(stage, kind, unix=True, keepalive_grace=0.5)
    assert_nothing_is_lost(web)


@each("uvicorn asgi", "waitress wsgi", "granian wsgi")
@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept", "single"])
def test_a_pool_that_grows_and_shrinks_under_load_loses_no_request(stage: Stage, kind: str, keep_alive: bool) -> None:
    web = run(stage, kind, spirits=1, spare=4, keepalive_grace=0.5)

    def scale() -> None:
        for number, count in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
            web.subject.send(number)
            web.subject.wait_spirits(count)

    outcome = ask_during(web, scale, keep_alive=keep_alive)
    assert not outcome.failed, f"{outcome.failed}\n{web.subject.report()}"
    assert outcome.answered > 100
    assert web.subject.quit() == 0


@each("uvicorn asgi", "waitress wsgi")
def test_a_spirit_that_is_killed_takes_with_it_only_what_it_had_in_hand(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=2, young=0.0)

    def kill() -> None:
        for _ in range(KILLS):
            wait_until(lambda: answering(web) == web.subject.spirits(), what="answers of both")
            os.kill(min(web.subject.spirits()), signal.SIGKILL)

    outcome = ask_during(web, kill, keep_alive=False)
    assert sum(outcome.failed.values()) <= KILLS * CLIENTS, "no more than each client's one request at each kill"
    assert not [what for what in outcome.failed if "REFUSED" in what], outcome.failed
    assert outcome.answered > 100
    assert web.subject.quit() == 0


@each("uvicorn asgi", "waitress wsgi")
def test_a_reload_renews_the_application(stage: Stage, kind: str) -> None:
    web = run(stage, kind)
    assert web.ask().bodies == {b"hello": 1}
    file = stage.place / "webapp.py"
    file.write_text(file.read_text(encoding="utf-8").replace('b"hello"', 'b"hello again"'), encoding="utf-8")
    web.subject.send(signal.SIGHUP)
    web.subject.wait_log(r"\] Reloaded:")
    wait_until(lambda: web.ask().bodies == {b"hello again": 1}, what="the new answer")
    assert web.subject.quit() == 0


def test_with_preload_a_reload_keeps_the_application(stage: Stage) -> None:
    web = run(stage, "waitress wsgi", preload=True)
    file = stage.place / "webapp.py"
    file.write_text(file.read_text(encoding="utf-8").replace('b"hello"', 'b"hello again"'), encoding="utf-8")
    web.subject.send(signal.SIGHUP)
    web.subject.wait_log(r"\] Reloaded:")
    assert web.ask().bodies == {b"hello": 1}
    assert web.subject.quit() == 0


@each(*ALL)
def test_a_spirit_that_has_as_many_connections_as_it_may_takes_the_next_when_one_ends(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, connections=2)
    with web.connected() as first, web.connected() as second:
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
        with web.connected() as third:
            third.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            third.settimeout(0.3)
            with pytest.raises(TimeoutError):
                third.recv(100)
            first.close()
            third.settimeout(10.0)
            assert third.recv(100).startswith(b"HTTP/1.1 200")
    assert web.subject.quit() == 0


@each("uvicorn asgi", "waitress wsgi")
def test_a_graceful_stop_answers_all_that_is_queued(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, keepalive_grace=0.2)
    socks = []
    with web.connected() as first:
        first.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(40):
            sock = web.client(connections=1)
            socks.append(sock)
        threads = [threading.Thread(target=client.run, kwargs={"requests": 1}) for client in socks]
        for thread in threads:
            thread.start()
        web.subject.send(signal.SIGTERM)
        for thread in threads:
            thread.join()
    refused = sum(client.outcome.failed["connect: ECONNREFUSED"] for client in socks)
    answered = sum(client.outcome.answered for client in socks)
    assert answered + refused == 40, [client.outcome.failed for client in socks]
    assert answered > 0
    assert web.subject.wait_end() == 0


@each("uvicorn asgi", "waitress wsgi", "granian wsgi")
def test_spirits_that_are_replaced_after_so_many_requests_lose_none(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=2, max_requests=150, keepalive_grace=0.2)

    def recycled() -> bool:
        return len(web.subject.logged("worn")) >= 6

    outcome = web.client(connections=4).run(seconds=40.0, rate=150.0, until=recycled)
    assert not outcome.failed, outcome.failed
    assert recycled(), web.subject.log()[-2000:]
    assert web.subject.quit() == 0
