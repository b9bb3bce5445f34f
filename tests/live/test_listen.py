"""A ghost that listens: its sockets are opened before it detaches, kept over a reload, and gone when it has ended."""

import os
import re
import signal
import socket
import stat

import pytest

from tests.live.harness import Stage, Subject

pytestmark = pytest.mark.live

# Says hello with its seat and generation to whoever connects.
HELLO = """\
import select

class Subject(Prefork):
    def spirit(self):
        poll = select.poll()
        for one in self.sockets:
            poll.register(one, select.POLLIN)
        by_fd = {one.fileno(): one for one in self.sockets}
        note("fds", *sorted(os.listdir("/proc/self/fd")))
        while self.tick():
            for fd, _ in poll.poll(50):
                try:
                    sock, _address = by_fd[fd].accept()
                except BlockingIOError:
                    continue
                sock.sendall(b"%d %d" % (self.seat, self.generation))
                sock.close()
"""


def listening_on(subject: Subject) -> list[str]:
    """Where the log says that it listens."""
    return [line.rpartition(" ")[2] for line in subject.wait_log(r"\] Listening on ")]


def hello(address: str) -> str:
    """What a spirit says to who connects to an address, as the log has it."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        place: str | tuple[str, int] = address.removeprefix("unix:")
    else:
        sock = socket.socket(socket.AF_INET6 if "[" in address else socket.AF_INET)
        host, _, port = address.rpartition(":")
        place = (host.strip("[]") or "127.0.0.1", int(port))
    with sock:
        sock.settimeout(10)
        sock.connect(place)
        return sock.recv(100).decode()


def test_every_kind_of_address_is_served_and_nothing_is_left_at_the_end(stage: Stage) -> None:
    subject = stage.run(HELLO, listen=["127.0.0.1:0", "[::1]:0", ":0", "unix:x.sock"])
    addresses = listening_on(subject)
    assert [re.sub(r"\d+$", "N", one) for one in addresses] == [
        "127.0.0.1:N",
        "[::1]:N",
        ":N",
        f"unix:{stage.place}/x.sock",
    ]
    assert all(hello(address).endswith(" 1") for address in addresses)
    assert stat.S_IMODE(os.stat(stage.place / "x.sock").st_mode) == 0o660
    assert subject.quit() == 0
    assert not list(stage.place.glob("x.sock*"))


def test_start_answers_with_the_port_that_the_kernel_has_chosen(stage: Stage) -> None:
    stage.write(HELLO, logfile=True, listen="127.0.0.1:0")
    answer = stage.command("start")
    assert answer.code == 0
    running, listening = answer.out.splitlines()
    assert hello(listening.removeprefix("Listening on ")).endswith(" 1")
    subject = Subject(stage, int(running.split()[-1]))
    assert subject.quit() == 0


def test_a_reload_keeps_the_sockets(stage: Stage) -> None:
    subject = stage.run(HELLO, listen=["127.0.0.1:0", "unix:x.sock"])
    addresses = listening_on(subject)
    inode = os.stat(stage.place / "x.sock").st_ino
    old = subject.spirits()
    subject.send(signal.SIGHUP)
    subject.wait_spirits(2, without=old)
    assert [hello(address).split()[1] for address in addresses] == ["2", "2"]
    assert os.stat(stage.place / "x.sock").st_ino == inode
    assert subject.quit() == 0
