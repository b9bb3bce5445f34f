"""Sockets that systemd hands over, and a listener a seat: whoever comes and goes, no connection is lost."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.live.harness import Stage, Subject
from tests.live.listening import HELLO, connect, hello, listening_on
from tests.support import is_dead, wait_until

pytestmark = pytest.mark.live


@pytest.fixture
def others() -> Iterator[ExitStack]:
    """What is held beside the ghost, and let go at the end."""
    with ExitStack() as held:
        yield held


# ── systemd's way of handing over ──
HAND_OVER = """\
import os, socket, sys
first = socket.create_server(("127.0.0.1", 0))
second = socket.create_server(("127.0.0.1", 0))
sys.stdout.write(f"{first.getsockname()[1]} {second.getsockname()[1]}\\n")
sys.stdout.flush()
for wanted, sock in ((3, first), (4, second)):
    fd = os.dup(sock.fileno())
    os.dup2(fd, wanted + 20)
for wanted in (3, 4):
    os.dup2(wanted + 20, wanted)
    os.set_inheritable(wanted, True)
os.closerange(5, 100)
os.environ |= {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "web:api"}
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_sockets_that_are_handed_over_are_taken_in_the_order_of_the_option_and_their_queues_outlive_us(
    stage: Stage, others: ExitStack
) -> None:
    body = HELLO.replace(
        'note("fds"', 'note("environ", *[name for name in os.environ if name.startswith("LISTEN")])\n        note("fds"'
    )
    script = stage.write(body, logfile=True, listen=["systemd:api", "systemd:web"])
    starter = stage.place / "starter.py"
    starter.write_text(HAND_OVER)
    # The listeners stay open here, as they do with systemd.
    kept = [others.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
    ports = [one.getsockname()[1] for one in kept]
    body = HAND_OVER.replace('socket.create_server(("127.0.0.1", 0))', "socket.socket(fileno=int(sys.argv.pop(1)))")
    starter.write_text(body)
    words = [sys.executable, str(starter), *(str(one.fileno()) for one in kept), str(script), "start"]
    done = subprocess.run(
        words, pass_fds=[one.fileno() for one in kept], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done
    assert re.findall(r"Listening on 127.0.0.1:(\d+)", done.stdout) == [str(port) for port in reversed(ports)]
    subject = Subject(stage, int(re.findall(r"Running (\d+)", done.stdout)[0]))
    assert subject.wait_notes("environ", 2)[0].more == ()
    assert [hello(f"127.0.0.1:{port}")[-1] for port in ports] == ["1", "1"]
    assert stage.command("stop").code == 0
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=30) as client:  # nobody refuses it
        kept[0].settimeout(30)
        taken, _ = kept[0].accept()
        with taken:
            taken.sendall(b"next")
            assert client.recv(9) == b"next"
    subject.wait_end()


# ── a listener a seat ──
def test_with_reuse_port_a_reload_and_a_scale_down_lose_nothing(stage: Stage) -> None:
    subject = stage.run(HELLO, listen="127.0.0.1:0", reuse_port=True, spirits=4)
    (address,) = listening_on(subject)
    if subject.logged("reuse_port without net.ipv4.tcp_migrate_req=1"):
        assert Path("/proc/sys/net/ipv4/tcp_migrate_req").read_text(encoding="ascii").strip() == "0"
    seats = {hello(address).split()[0] for _ in range(100)}
    assert len(seats) == 4
    for generation in (2, 3):
        old = subject.spirits()
        subject.send(signal.SIGHUP)
        while subject.spirits() & old:
            assert hello(address)
        assert {hello(address).split()[1] for _ in range(20)} == {str(generation)}
    for left in (3, 2, 1):
        subject.send(signal.SIGTTOU)
        while len(subject.spirits()) > left:
            assert hello(address)
    assert len({hello(address).split()[0] for _ in range(20)}) == 1
    subject.send(signal.SIGTTIN)
    subject.wait_spirits(2)
    wait_until(lambda: len({hello(address).split()[0] for _ in range(20)}) == 2, what="two that answer")
    assert subject.quit() == 0
    assert not subject.logged("Closing ")


@pytest.mark.parametrize("is_reloaded", [False, True], ids=["in the first seats", "after a reload, in others"])
def test_with_reuse_port_the_queue_of_a_killed_spirit_is_its_successors(
    stage: Stage, others: ExitStack, *, is_reloaded: bool
) -> None:
    subject = stage.run(HELLO, listen="127.0.0.1:0", reuse_port=True, spirits=2, spare=2)
    (address,) = listening_on(subject)
    if is_reloaded:
        first = subject.spirits()
        subject.send(signal.SIGHUP)
        subject.wait_log("Reloaded: ")
        subject.wait_spirits(2, without=first)
    old = subject.spirits()
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    crowd = [others.enter_context(connect(address)) for _ in range(40)]
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    generation = b" 2" if is_reloaded else b" 1"
    assert all(one.recv(9).endswith(generation) for one in crowd)
    subject.wait_spirits(2, without=old)
    assert subject.quit() == 0
    assert not subject.logged("Closing ")


def test_with_reuse_port_streams_are_answered_over_reloads_and_kills(stage: Stage) -> None:
    body = """\
class Subject(Prefork):
    def connection(self, sock, address):
        sock.sendall(b"%d %d" % (self.seat, self.generation))
"""
    subject = stage.run(body, listen="127.0.0.1:0", reuse_port=True, spirits=3)
    (address,) = listening_on(subject)
    for generation in (2, 3):
        old = subject.spirits()
        subject.send(signal.SIGHUP)
        while subject.spirits() & old:
            assert hello(address)
        assert hello(address).endswith(f" {generation}")
    for _ in range(5):
        victim = min(subject.spirits())
        with ExitStack() as crowd:
            heard = [crowd.enter_context(connect(address)).recv(9) for _ in range(9)]
            os.kill(victim, signal.SIGKILL)
            assert all(heard)
            # Until it is dead it may take one, which is lost with it.
            wait_until(partial(is_dead, victim), what=f"the end of {victim}")
            assert hello(address).endswith(" 3")
        subject.wait_spirits(3, without={victim})
    assert subject.quit() == 0
    assert not subject.logged("Closing ")
