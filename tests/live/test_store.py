"""Listeners that the init system keeps: a manager that is killed, or restarted, finds them again with their queues.

The init system is played by the test, by the protocols sd_notify(3) and sd_listen_fds(3); tests/system has a real one.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from tests.ears import Ears
from tests.live.harness import Stage, Subject
from tests.support import wait_until

pytestmark = pytest.mark.live

Place = str | tuple[str, int]
Connect = Callable[[Place], socket.socket]

# Puts the descriptors that it was passed where sd_listen_fds(3) has them, and becomes the command behind them.
LAUNCHER: Final = """\
import fcntl, os, sys
given, command = sys.argv[1].split(";"), sys.argv[2:]
pairs = [one.split("=", 1) for one in given if one]
high = [(fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100), name) for fd, name in pairs]
for fd, _ in pairs:
    os.close(int(fd))
for number, (fd, _) in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
    os.close(fd)
if high:
    os.environ |= {"LISTEN_FDS": str(len(high)), "LISTEN_PID": str(os.getpid())}
    os.environ["LISTEN_FDNAMES"] = ":".join(name for _, name in high)
os.execv(command[0], command)
"""

ECHO: Final = """\
import select

class Subject(Prefork):
    def spirit(self):
        note("env", *(name for name in os.environ if name.startswith(("LISTEN", "FDSTORE"))))
        poll = select.poll()
        for one in self.sockets:
            poll.register(one, select.POLLIN)
        by_fd = {one.fileno(): one for one in self.sockets}
        while self.tick():
            for fd, _ in poll.poll(20):
                try:
                    sock, _address = by_fd[fd].accept()
                except BlockingIOError:
                    continue
                sock.sendall(b"%d" % os.getppid())
                sock.close()
"""


class Unit:
    """A unit with a file descriptor store: what a systemd keeps of it."""

    def __init__(self, stage: Stage, *, tells_of_store: bool) -> None:
        self.ears = Ears(stage.place / "notify")
        self.store: list[tuple[str, int]] = []
        self._stage = stage
        self._tells = tells_of_store
        self._starts = 0
        (stage.place / "launcher.py").write_text(LAUNCHER)

    def start(self, **options: object) -> Subject:
        """Start the service with all that is kept of it, and wait until it is ready."""
        self.mind()
        handed = ";".join(f"{fd}={name}" for name, fd in self.store)
        environ = {"NOTIFY_SOCKET": self.ears.address} | ({"FDSTORE": "16"} if self._tells else {})
        launcher = (sys.executable, str(self._stage.place / "launcher.py"), handed)
        self._stage.inherited = tuple(fd for _, fd in self.store)
        subject = self._stage.run(ECHO, prefix=launcher, environ=environ, whole=False, **options)
        self._starts += 1
        wait_until(lambda: self.mind().count("READY") >= self._starts, what="READY")
        return subject

    def mind(self) -> list[str]:
        """Do what was asked for, in the order in which it was; the first word of all that was ever said."""
        while (one := self.ears.read_one()) is not None:
            name = one.says.get("FDNAME", "")
            if "FDSTOREREMOVE" in one.says:
                self._drop(name)
            for fd in one.fds:
                self._add(name, fd)
        self.ears.all = [one._replace(fds=()) for one in self.ears.all]
        return [next(iter(one.says)) for one in self.ears.all]

    def names(self) -> list[str]:
        self.mind()
        return [name for name, _ in self.store]

    def close(self) -> None:
        self.mind()
        self.ears.close()
        for _, fd in self.store:
            os.close(fd)

    def _add(self, name: str, fd: int) -> None:
        if any(os.path.sameopenfile(fd, other) for _, other in self.store):
            os.close(fd)  # the same file again
        else:
            self.store.append((name, fd))

    def _drop(self, name: str) -> None:
        for one in [one for one in self.store if one[0] == name]:
            os.close(one[1])
            self.store.remove(one)


@pytest.fixture
def old(stage: Stage) -> Iterator[Unit]:
    """A unit of a systemd before 254, which does not say that it has a store."""
    unit = Unit(stage, tells_of_store=False)
    yield unit
    unit.close()


@pytest.fixture
def new(stage: Stage) -> Iterator[Unit]:
    unit = Unit(stage, tells_of_store=True)
    yield unit
    unit.close()


def _connect(place: Place) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)
    sock.settimeout(30)
    try:
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


@pytest.fixture
def connected() -> Iterator[Connect]:
    """Connect to a place; closed when the test ends, at the latest."""
    with ExitStack() as stack:
        yield lambda place: stack.enter_context(_connect(place))


def served_by(sock: socket.socket) -> int:
    """The pid of the manager whose spirit has answered."""
    with sock:
        return int(sock.recv(100))


def port_of(unit: Unit) -> int:
    sock = socket.socket(fileno=os.dup(unit.store[0][1]))
    with sock:
        return int(sock.getsockname()[1])


def test_who_connects_after_the_manager_was_killed_is_served_by_the_next_one(
    stage: Stage, new: Unit, connected: Connect
) -> None:
    listen = ["127.0.0.1:0", "unix:x.sock"]
    first = new.start(listen=listen)
    assert new.names() == ["ghostd=127.0.0.1%3A0", "ghostd=unix%3Ax.sock"]
    places: list[Place] = [("127.0.0.1", port_of(new)), str(stage.place / "x.sock")]
    first.send(signal.SIGKILL)
    assert first.wait_end() == -signal.SIGKILL
    waiting = [connected(place) for place in places for _ in range(20)]
    second = new.start(listen=listen)
    assert {served_by(one) for one in waiting} == {second.pid}
    assert {served_by(connected(place)) for place in places} == {second.pid}
    assert new.names() == ["ghostd=127.0.0.1%3A0", "ghostd=unix%3Ax.sock"], "kept once"
    assert {note.more for note in second.notes("env")} == {()}
    assert second.quit() == 0


def test_a_graceful_stop_leaves_what_is_kept_to_the_next_one(stage: Stage, new: Unit, connected: Connect) -> None:
    listen = ["127.0.0.1:0", "unix:x.sock"]
    for _ in range(3):
        subject = new.start(listen=listen)
        places: list[Place] = [("127.0.0.1", port_of(new)), str(stage.place / "x.sock")]
        subject.send(signal.SIGTERM)
        wait_until(lambda: new.mind()[-1] == "STOPPING", what="the stop")
        waiting = [connected(place) for place in places for _ in range(20)]
        assert subject.wait_end() == 0
        waiting += [connected(place) for place in places for _ in range(20)]
        following = new.start(listen=listen)
        assert {served_by(one) for one in waiting} <= {subject.pid, following.pid}
        assert following.quit() == 0


def test_a_store_that_may_not_outlive_a_stop_is_emptied_before_the_queues_are_shut(
    stage: Stage, old: Unit, connected: Connect
) -> None:
    listen = ["127.0.0.1:0", "unix:x.sock"]
    first = old.start(listen=listen)
    assert len(old.names()) == 2
    assert first.quit() == 0
    assert old.names() == []
    assert not (stage.place / "x.sock").exists()
    second = old.start(listen=listen)
    second.send(signal.SIGKILL)
    second.wait_end()
    waiting = connected(str(stage.place / "x.sock"))
    third = old.start(listen=listen)
    assert served_by(waiting) == third.pid, "a crash is covered all the same"
    assert third.quit() == 0


def test_what_is_no_longer_wanted_is_given_up_before_anything_is_bound(
    stage: Stage, new: Unit, connected: Connect
) -> None:
    first = new.start(listen=["[::1]:0", "unix:x.sock?mode=600"])
    port = port_of(new)
    first.send(signal.SIGKILL)
    first.wait_end()
    wanted = [f"[::1]:{port}?backlog=5", "unix:x.sock?mode=666"]
    second = new.start(listen=wanted)
    assert new.names() == [f"ghostd=[%3A%3A1]%3A{port}?backlog=5", "ghostd=unix%3Ax.sock?mode=666"]
    assert (stage.place / "x.sock").stat().st_mode & 0o777 == 0o666
    assert served_by(connected(str(stage.place / "x.sock"))) == second.pid
    assert second.quit() == 0


def test_a_ghost_that_listens_no_more_gives_all_of_it_up(stage: Stage, new: Unit, connected: Connect) -> None:
    first = new.start(listen=["127.0.0.1:0"])
    port = port_of(new)
    first.send(signal.SIGKILL)
    first.wait_end()
    second = new.start()
    assert new.names() == []
    with pytest.raises(ConnectionRefusedError):
        connected(("127.0.0.1", port))
    assert second.quit() == 0


def test_a_kept_socket_whose_file_is_gone_is_replaced(stage: Stage, new: Unit, connected: Connect) -> None:
    first = new.start(listen=["unix:x.sock"])
    first.send(signal.SIGKILL)
    first.wait_end()
    (stage.place / "x.sock").unlink()
    second = new.start(listen=["unix:x.sock"])
    assert new.names() == ["ghostd=unix%3Ax.sock"]
    assert served_by(connected(str(stage.place / "x.sock"))) == second.pid
    assert second.quit() == 0


def test_an_init_system_that_does_not_answer_holds_nobody_up(stage: Stage, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as stale, closing(Ears(tmp_path / "deaf")) as ears:
        stale.bind(("::1", 0))
        stale.listen()
        (stage.place / "launcher.py").write_text(LAUNCHER)
        launcher = (sys.executable, str(stage.place / "launcher.py"), f"{stale.fileno()}=ghostd=stale")
        stage.inherited = (stale.fileno(),)
        environ = {"NOTIFY_SOCKET": ears.address}
        subject = stage.run(ECHO, prefix=launcher, environ=environ, listen=["127.0.0.1:0"])
        assert "FDSTOREREMOVE" in ears.words()
        assert subject.quit() == 0
