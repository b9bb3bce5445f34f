"""Ghosts that listen, for tests, and how to talk to them."""

import socket
from typing import Final

from tests.live.harness import Subject

# Says hello with its seat and generation to whoever connects.
HELLO: Final = """\
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


# Takes connections slowly, so that a queue builds up, and answers all that waits before it leaves.
SLOW: Final = """\
class Subject(Prefork):
    def spirit(self):
        (sock,) = self.sockets
        self.ready()
        while self.tick():
            time.sleep(0.01)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            try:
                taken, _address = sock.accept()
            except BlockingIOError:
                time.sleep(0.01)
                continue
            taken.sendall(b"late")
            taken.close()
"""


def connect(address: str) -> socket.socket:
    """A connection to an address, as the log has it."""
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        place: str | tuple[str, int] = address.removeprefix("unix:")
    else:
        sock = socket.socket(socket.AF_INET6 if "[" in address else socket.AF_INET)
        host, _, port = address.rpartition(":")
        place = (host.strip("[]") or "127.0.0.1", int(port))
    sock.settimeout(30)
    try:
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


def hello(address: str) -> str:
    """What a spirit says to who connects to an address."""
    with connect(address) as sock:
        return sock.recv(100).decode()
