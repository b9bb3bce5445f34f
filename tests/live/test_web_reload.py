"""No request is lost while spirits are replaced, whichever server is in them."""

import signal
import threading

import pytest

from bench.serve.client import Outcome
from tests.live.harness import Stage
from tests.live.web import ALL, Web, each, run
from tests.support import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]

RELOADS = 2  # bench/serve makes a hundred


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
    done = threading.Event()
    failures: list[BaseException] = []

    def reload() -> None:
        try:
            for number in range(before, before + RELOADS):
                web.subject.send(signal.SIGHUP)
                web.subject.wait_log(r"\] Reloaded:", count=number + 1)
        except AssertionError as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=reload)
    thread.start()
    outcome = web.client(connections=8, keep_alive=keep_alive).run(seconds=50.0, until=done.is_set)
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


@each("uvicorn asgi", "waitress wsgi")
def test_a_reload_renews_the_application(stage: Stage, kind: str) -> None:
    web = run(stage, kind)
    assert web.ask().bodies == {b"hello": 1}
    file = stage.place / "webapp.py"
    file.write_text(file.read_text(encoding="utf-8").replace('b"hello"', 'b"hello again"'), encoding="utf-8")
    web.subject.send(signal.SIGHUP)
    web.subject.wait_log(r"\] Reloaded:")
    wait_until(lambda: web.ask().bodies == {b"hello again": 1}, 10.0, "the new answer")
    assert web.subject.quit() == 0


def test_with_preload_a_reload_keeps_the_application(stage: Stage) -> None:
    web = run(stage, "waitress wsgi", preload=True)
    file = stage.place / "webapp.py"
    file.write_text(file.read_text(encoding="utf-8").replace('b"hello"', 'b"hello again"'), encoding="utf-8")
    web.subject.send(signal.SIGHUP)
    web.subject.wait_log(r"\] Reloaded:")
    assert web.ask().bodies == {b"hello": 1}
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
