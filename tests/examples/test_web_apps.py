"""The examples of the web, served from their files: asked all the time, changed, reloaded; nothing is lost."""

import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.serve.client import Client, Outcome
from tests.examples.example import EXAMPLES, Example, Start
from tests.support import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]

RELOADS = 3


def serve(start: Start, name: str, place: Path, **environ: str) -> Example:
    """A copy of the folder, served as its README says, on a port of its own."""
    shutil.copytree(EXAMPLES / name, place, dirs_exist_ok=True)
    return start(name, sys.executable, "-m", "ghostd", GHOSTD_LISTEN="127.0.0.1:0", **environ)


def place_of(example: Example) -> tuple[str, int]:
    host, _, port = example.addresses[0].rpartition(":")
    return host, int(port)


def ask(example: Example, path: str = "/") -> dict[str, object]:
    """One answer, on a connection of its own."""
    outcome = Client(place_of(example), connections=1, path=path).run(requests=1)
    assert not outcome.failed, outcome.failed
    (body,) = outcome.bodies
    answer: dict[str, object] = json.loads(body)
    return answer


def pids_of(outcome: Outcome) -> set[int]:
    """The spirits that have answered so far."""
    return {json.loads(body)["pid"] for body in list(outcome.bodies)}


def renew(place: Path) -> None:
    """Change the greeting in the copy."""
    file = place / "app.py"
    file.write_text(file.read_text().replace('GREETING = "hello"', 'GREETING = "good evening"'))


@contextmanager
def asked_all_the_time(example: Example, *, keep_alive: bool) -> Iterator[Outcome]:
    """Ask without a pause in this block; the outcome is whole after it."""
    over = threading.Event()
    client = Client(place_of(example), connections=4, keep_alive=keep_alive)
    thread = threading.Thread(target=client.run, kwargs={"seconds": 50.0, "until": over.is_set})
    thread.start()
    try:
        wait_until(lambda: client.outcome.answered >= 50, what="50 answers")
        yield client.outcome
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept", "single"])
@pytest.mark.parametrize("name", ["web_starlette", "web_flask"])
def test_a_reload_under_requests_renews_the_code_and_fails_none(
    name: str, start: Start, tmp_path: Path, *, keep_alive: bool
) -> None:
    example = serve(start, name, tmp_path)
    assert ask(example)["greeting"] == "hello"
    with asked_all_the_time(example, keep_alive=keep_alive) as outcome:
        renew(tmp_path)
        for number in range(1, RELOADS + 1):
            assert example.run("reload") == f"Reloading {example.pid}\n"
            example.wait_log("Reloaded: ", number, timeout=20)
            wait_until(lambda: pids_of(outcome) & set(example.spirits), what="an answer of this generation")
    assert not outcome.failed, (outcome.failed, example.log)
    greetings = [json.loads(body)["greeting"] for body in outcome.bodies]
    assert set(greetings) == {"hello", "good evening"}
    assert ask(example)["greeting"] == "good evening"
    example.stop()


@pytest.mark.parametrize("name", ["web_starlette", "web_flask"])
def test_code_that_does_not_load_leaves_the_old_spirits_serving(name: str, start: Start, tmp_path: Path) -> None:
    example = serve(start, name, tmp_path)
    before = set(example.spirits)
    (tmp_path / "app.py").write_text("app = create_app = 1 / 0\n")
    example.run("reload")
    example.wait_log("ZeroDivisionError")
    example.wait_log("Reload failed", timeout=20)
    assert ask(example)["pid"] in before
    example.stop()


@pytest.mark.parametrize("name", ["web_starlette", "web_flask"])
def test_the_file_of_options_is_right_as_it_stands(name: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / name, tmp_path, dirs_exist_ok=True)
    said = Example(name, tmp_path, sys.executable, "-m", "ghostd", "config").run("check")
    assert "ghostd.toml" in said


def test_flask_gives_the_slow_answer_from_a_spirit_that_leaves(start: Start, tmp_path: Path) -> None:
    example = serve(start, "web_flask", tmp_path, SLOW="6")
    before = set(example.spirits)
    with socket.create_connection(place_of(example), timeout=10) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: "1 in hand" in example.run("status"), what="the request in hand")
        example.run("reload")
        example.wait_log("Stopping spirit", 2)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["pid"] in before
    example.wait_log("Reloaded: ")
    example.stop()


def test_starlette_ends_its_streams_and_websockets_in_order(start: Start, tmp_path: Path) -> None:
    example = serve(start, "web_starlette", tmp_path)
    host, port = place_of(example)
    with (
        socket.create_connection((host, port), timeout=10) as stream,
        connect(f"ws://{host}:{port}/echo", compression=None) as websocket,
    ):
        websocket.send("hello")
        assert str(websocket.recv(timeout=10)).endswith(": hello")
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = b""
        while b"id: 1\n" not in got and b"id: 2\n" not in got:  # the clock of the lifespan goes
            got += stream.recv(65536)
        example.run("reload")
        got += b"".join(iter(lambda: stream.recv(65536), b""))
        assert got.endswith(b"0\r\n\r\n"), "the end of a whole answer"
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    example.wait_log("Reloaded: ")
    example.stop()
    assert "Traceback" not in example.log
    assert "Cut" not in example.log
