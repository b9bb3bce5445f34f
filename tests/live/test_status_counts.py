"""What spirits have in hand and have served is seen from beside the ghost, which is neither asked nor disturbed."""

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.live.harness import OPTIONS, WORK, Stage, own_environ
from tests.live.streams import Dial
from tests.live.streams import run as run_stream
from tests.live.web import Web, each, run
from tests.support import needs_root, needs_tool, wait_until

pytestmark = pytest.mark.live


def status(stage: Stage, *words: str, prefix: tuple[str, ...] = ()) -> str:
    """What the command prints of the ghost that was started last."""
    asked = [*prefix, sys.executable, "-m", "ghostd", "status", "--pidfile", str(stage.place / "subject.pid"), *words]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=20, env=own_environ())
    return done.stdout


def spirits_of(stage: Stage) -> list[dict[str, Any]]:
    """The spirits in the JSON of the command, by seat."""
    found: list[dict[str, Any]] = json.loads(status(stage, "--json"))["spirits"]
    return sorted(found, key=lambda spirit: spirit["seat"])


@each("uvicorn asgi", "hypercorn asgi", "granian asgi", "granian wsgi", "waitress wsgi", "cheroot wsgi")
def test_a_request_in_hand_is_seen_and_counted_when_it_is_answered(stage: Stage, kind: str) -> None:
    web = run(stage, kind)
    running = f"Running {web.subject.pid}\n"
    assert status(stage) == running
    for _ in range(3):
        assert web.ask().answered == 1
    wait_until(lambda: status(stage) == f"{running}0 in hand, 3 served by 2 spirits\n")
    with asking(web):
        assert status(stage) == f"{running}1 in hand, 3 served by 2 spirits\n"
        spirits = spirits_of(stage)
        assert [spirit["seat"] for spirit in spirits] == [0, 1]
        assert sorted(spirit["in_flight"] for spirit in spirits) == [0, 1]
        assert sum(spirit["served"] for spirit in spirits) == 3
        assert {spirit["pid"] for spirit in spirits} == web.subject.spirits()
    wait_until(lambda: status(stage) == f"{running}0 in hand, 4 served by 2 spirits\n")
    by_script = stage.command("status")
    assert (by_script.code, by_script.out) == (0, f"{running}0 in hand, 4 served by 2 spirits")
    assert web.subject.quit() == 0


class asking:  # noqa: N801  reads as what it does
    """Ask in this block, which begins when the application has the request; it is answered at the end of it."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._thread = threading.Thread(target=web.ask, args=("/held",))

    def __enter__(self) -> None:
        self._thread.start()
        wait_until(lambda: "began /held" in self._web.seen(), what="the request in hand")

    def __exit__(self, *_error: object) -> None:
        (self._web.stage.place / "seen.go").touch()
        self._thread.join(20)


def test_a_manager_that_was_stopped_is_seen_as_well(stage: Stage) -> None:
    web = run(stage, "uvicorn asgi")
    assert web.ask().answered == 1
    web.subject.send(signal.SIGSTOP)
    try:
        wait_until(lambda: "0 in hand, 1 served by 2 spirits\n" in status(stage))
    finally:
        web.subject.send(signal.SIGCONT)
    assert web.subject.quit() == 0


@pytest.mark.parametrize("kind", ["one by one", "in threads", "in tasks"])
def test_connections_of_a_stream_are_seen(stage: Stage, kind: str, dial: Dial) -> None:
    subject, address = run_stream(stage, kind)
    sock = dial(address)
    sock.sendall(b"hello\n")
    assert sock.recv(100)
    assert status(stage).endswith("1 in hand, 0 served by 2 spirits\n")
    sock.close()
    wait_until(lambda: status(stage).endswith("0 in hand, 1 served by 2 spirits\n"))
    assert subject.quit() == 0


def test_what_a_spirit_that_has_gone_had_served_is_not_counted_any_more(stage: Stage) -> None:
    web = run(stage, "uvicorn asgi", keepalive_grace=0.1)
    assert web.ask().answered == 1
    wait_until(lambda: "1 served by 2 spirits" in status(stage))
    old = web.subject.spirits()
    web.subject.send(signal.SIGHUP)
    web.subject.wait_spirits(2, without=old)
    assert all(spirit["served"] == 0 for spirit in spirits_of(stage))
    assert web.subject.quit() == 0


def test_a_ghost_whose_spirits_count_nothing_has_one_line(stage: Stage) -> None:
    subject = stage.run(WORK)
    assert status(stage) == f"Running {subject.pid}\n"
    assert [(one["in_flight"], one["served"]) for one in spirits_of(stage)] == [(0, 0)] * int(str(OPTIONS["spirits"]))
    assert subject.quit() == 0


@needs_root
@needs_tool("setpriv")
def test_who_may_not_see_is_told_less_and_no_error(stage: Stage) -> None:
    web = run(stage, "uvicorn asgi")
    assert web.ask().answered == 1
    for folder in (stage.place, *stage.place.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert status(stage, prefix=as_nobody) == f"Running {web.subject.pid}\n"
    told = json.loads(status(stage, "--json", prefix=as_nobody))["spirits"]
    assert [(one["seat"], one["in_flight"], one["served"]) for one in told] == [(None, None, None)] * 2
    assert web.subject.quit() == 0
