"""Sockets handed over by systemd's own tool: the protocol as systemd has it, on a machine that it does not rule."""

import os
import signal
import socket
import sys

import pytest

from tests.live.harness import Stage
from tests.live.traffic import ask
from tests.support import needs_tool, wait_until

pytestmark = [pytest.mark.live, needs_tool("systemd-socket-activate")]

# Says which socket it came in by, and which of the variables that are for the manager it has.
NAMES = """\
class Subject(Prefork):
    def connection(self, sock, address):
        sock.recv(100)
        place = os.path.basename(sock.getsockname())
        left = [name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_"))]
        sock.sendall(" ".join([place, str(os.getppid()), *left]).encode() + b"\\n")
"""


@pytest.mark.parametrize("listen", [["systemd"], ["systemd:one", "systemd:two"]], ids=["all", "by name"])
def test_a_ghost_is_started_by_who_connects_and_leaves_the_sockets_to_systemd(stage: Stage, listen: list[str]) -> None:
    places = [stage.place / "one.sock", stage.place / "two.sock"]
    tool = ["systemd-socket-activate", "--fdname=one:two", *(f"--listen={place}" for place in places)]
    subject = stage.run(NAMES, prefix=tool, whole=False, listen=listen)
    wait_until(lambda: all(place.exists() for place in places), what="the sockets")
    assert not subject.logged("Ghost process")
    for place in places:
        assert ask(f"unix:{place}").decode().split() == [place.name, str(subject.pid)]
    assert len(subject.logged(r"\] Listening on ")) == 2
    assert subject.quit() == 0
    assert all(place.exists() for place in places), "they are not ours to remove"


def test_sockets_that_were_handed_to_another_process_are_refused_with_a_reason(stage: Stage) -> None:
    subject = stage.run(NAMES, environ={"LISTEN_FDS": "1", "LISTEN_PID": "1"}, whole=False, listen=["systemd"])
    assert subject.wait_end() == 64
    assert subject.logged(f"LISTEN_PID is 1, this process is {subject.pid}")


def test_what_comes_while_no_ghost_runs_waits_in_the_queue_for_the_next_one(stage: Stage) -> None:
    # What systemd does when a service has ended: it keeps the socket, and starts the service when somebody comes.
    with socket.socket(socket.AF_UNIX) as kept:
        kept.bind(str(stage.place / "one.sock"))
        kept.listen(64)
        script = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.dup2(int(sys.argv[1]), 3)"
        run = f"{script}; os.execv(sys.argv[2], sys.argv[2:])"
        stage.inherited = (kept.fileno(),)
        managers = []
        for turn in range(1, 6):
            with socket.socket(socket.AF_UNIX) as early:
                early.settimeout(10)
                early.connect(str(stage.place / "one.sock"))
                early.sendall(b"early\n")
                prefix = (sys.executable, "-c", run, str(kept.fileno()))
                subject = stage.run(NAMES, prefix=prefix, environ={"LISTEN_FDS": "1"}, whole=False, listen=["systemd"])
                assert early.makefile("rb").readline().split()[1] == str(subject.pid).encode()
            subject.wait_log("Pool is whole", turn)
            managers.append(subject.pid)
            os.kill(subject.pid, signal.SIGTERM)
            assert subject.wait_end() == 0
        assert len(set(managers)) == 5
