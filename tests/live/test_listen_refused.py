"""What cannot be listened on: one line that says what to do, a code, and nothing left behind, before it detaches."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import Answer, Stage
from tests.live.listening import HELLO
from tests.live.places import AS_NOBODY, NOBODY, open_stage, told
from tests.support import needs_root, needs_tool

pytestmark = pytest.mark.live


# ── bad input: one line, a code, and nothing left behind ──
@pytest.fixture
def others() -> Iterator[ExitStack]:
    """What holds what a ghost wants."""
    with ExitStack() as held:
        yield held


def refused(stage: Stage, listen: object, code: int, *said: str, prefix: tuple[str, ...] = (), **environ: str) -> None:
    """Neither start nor run does it, each says why in one line, and nothing is left behind."""
    stage.write(HELLO, logfile=True, listen=listen)
    before = {path for path in stage.place.rglob("*") if path.name != "__pycache__"}
    for word in ("start", "run"):
        answer: Answer = told(stage, word, prefix=prefix, environ=environ)
        assert answer.code == code, answer
        line, *rest = answer.err.splitlines()
        assert line.startswith("subject: ")
        assert not rest or rest[-1].strip() == "^"  # under the place of a mistake in an address
        assert not [part for part in said if part not in answer.err], answer
        assert {path for path in stage.place.rglob("*") if path.name != "__pycache__"} == before
        stage.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("unix:{}/none/x.sock", "there is no directory {}/none; make it"),
        ("unix:{}/subject.py", "no socket; remove it"),
        ("fd:999", "descriptor 999 is not open"),
        ("systemd", "LISTEN_FDS is not set"),
    ],
)
def test_a_wrong_address_is_told(stage: Stage, listen: str, said: str) -> None:
    refused(stage, listen.format(stage.place), ExitCode.BAD_OPTION, said.format(stage.place))


def test_a_mistake_in_an_address_is_pointed_at_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def work(ghost):\n    pass\n", encoding="utf-8")
    words = [sys.executable, "-m", "ghostd", "start", "app:work", "--listen", ":80", "--listen", "127.0.0.1:80x"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == ExitCode.BAD_OPTION
    assert done.stderr.splitlines() == [
        "ghostd: option listen: the port is a number from 0 to 65535, without 'x'",
        "  127.0.0.1:80x",
        "              ^ (from --listen)",
    ]
    assert os.listdir(tmp_path) == ["app.py"]


def test_a_port_in_use_is_told_with_who_has_it(stage: Stage, others: ExitStack) -> None:
    server = others.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = server.getsockname()[1]
    who = f"another process (pid {os.getpid()}, "
    refused(stage, ["unix:first.sock", f"127.0.0.1:{port}"], ExitCode.NO_ADDRESS, f"127.0.0.1:{port}", who, "stop it")


def test_a_path_where_another_server_listens_is_told(stage: Stage, others: ExitStack) -> None:
    path = stage.place / "x.sock"
    server = others.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    server.listen()
    refused(stage, ["127.0.0.1:0", f"unix:{path}"], ExitCode.NO_ADDRESS, f"(pid {os.getpid()}, ", "choose another path")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))  # it serves on


def test_a_ghost_whose_init_fails_takes_its_socket_files_with_it(stage: Stage) -> None:
    body = (
        HELLO
        + """\

    def init(self):
        raise LookupError("no letters")
"""
    )
    stage.write(body, logfile=True, listen=["127.0.0.1:0", "unix:x.sock"])
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED
    assert "no letters" in answer.err
    assert {path.name for path in stage.place.iterdir()} - {"__pycache__"} == {"subject.py", "log"}
    stage.assert_nothing_is_left()


def test_sockets_of_systemd_for_another_process_are_told(stage: Stage) -> None:
    said = f"LISTEN_PID is {os.getpid()}, this process is "
    refused(stage, "systemd", ExitCode.BAD_OPTION, said, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")


def test_a_descriptor_that_is_no_socket_is_told(stage: Stage) -> None:
    shell = ("sh", "-c", 'exec "$@" 9</dev/null', "sh")
    refused(stage, "fd:9", ExitCode.BAD_OPTION, "descriptor 9 is no socket, but /dev/null", prefix=shell)


@needs_root
@needs_tool("setpriv")
def test_a_low_port_or_a_closed_directory_is_told_to_who_may_not() -> None:
    with open_stage() as stage:
        closed = stage.place / "closed"
        closed.mkdir(mode=0o755)
        said = f"uid {NOBODY} may not write to {closed}"
        refused(stage, f"unix:{closed}/x.sock", ExitCode.DENIED, said, prefix=AS_NOBODY)
        if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")) > 1:
            refused(stage, "127.0.0.1:1", ExitCode.DENIED, "CAP_NET_BIND_SERVICE", prefix=AS_NOBODY)
