"""A ghost that listens: its sockets are opened before it detaches, kept over a reload, and gone when it has ended."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import END, PRELUDE, Answer, Stage, Subject
from tests.live.places import AS_NOBODY, NOBODY, open_stage, told
from tests.support import needs_root, needs_tool, offspring_of, wait_until

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


# Takes connections slowly, so that a queue builds up, and answers all that waits before it leaves.
SLOW = """\
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
    sock.settimeout(10)
    sock.connect(place)
    return sock


def hello(address: str) -> str:
    """What a spirit says to who connects to an address."""
    with connect(address) as sock:
        return sock.recv(100).decode()


# ── what it serves ──
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


def test_a_command_that_a_spirit_runs_inherits_no_socket(stage: Stage) -> None:
    body = """\
class Subject(Prefork):
    def spirit(self):
        note("own", len(self.sockets))
        told = os.popen("ls -l /proc/self/fd").read()
        note("sockets", told.count("socket:"))
        while self.tick():
            time.sleep(0.01)
"""
    subject = stage.run(body, spirits=1, listen=["127.0.0.1:0", "unix:x.sock"])
    assert subject.wait_notes("own")[0].more == ("2",)
    assert subject.wait_notes("sockets")[0].more == ("0",)
    assert subject.quit() == 0


def test_a_spirit_has_the_sockets_and_no_lock_of_them(stage: Stage) -> None:
    subject = stage.run(HELLO, spirits=1, listen=["127.0.0.1:0", "unix:x.sock"])
    (spirit,) = subject.spirits()
    held = {os.readlink(one) for one in Path(f"/proc/{spirit}/fd").iterdir()}
    assert sum(one.startswith("socket:") for one in held) == 2
    assert not [one for one in held if one.endswith(".lock")]
    assert subject.quit() == 0


def test_a_ghost_that_does_not_listen_loads_no_part_of_it(stage: Stage) -> None:
    body = """\
class Subject(Prefork):
    def spirit(self):
        note("loaded", *sorted(name for name in sys.modules if name.startswith("ghostd.serve")))
        note("sockets", len(self.sockets))
        while self.tick():
            time.sleep(0.01)
"""
    subject = stage.run(body, spirits=1)
    assert set(subject.wait_notes("loaded")[0].more) <= {"ghostd.serve", "ghostd.serve.door", "ghostd.serve.options"}
    assert subject.wait_notes("sockets")[0].more == ("0",)
    assert subject.quit() == 0


# ── the end ──
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:x.sock"])
def test_what_waits_when_a_graceful_stop_begins_is_answered(stage: Stage, listen: str) -> None:
    subject = stage.run(SLOW, listen=listen)
    (address,) = listening_on(subject)
    crowd = [connect(address) for _ in range(20)]
    subject.send(signal.SIGQUIT)
    assert [one.recv(10) for one in crowd] == [b"late"] * 20
    assert subject.wait_end() == 0
    assert not subject.logged("Closing ")
    for one in crowd:
        one.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:x.sock"])
def test_what_nobody_has_taken_at_the_end_is_counted(stage: Stage, listen: str) -> None:
    subject = stage.run(SLOW.replace("0.2", "-1"), listen=listen)
    (address,) = listening_on(subject)
    crowd = [connect(address) for _ in range(3)]
    assert subject.quit() == 0
    assert subject.logged(rf"\[warn\] Closing {re.escape(address)}: 3 connections that wait are reset")
    for one in crowd:
        one.close()


def test_the_next_start_replaces_what_a_crash_has_left(stage: Stage) -> None:
    subject = stage.run(HELLO, listen=["127.0.0.1:0", "unix:x.sock"])
    port = listening_on(subject)[0].rpartition(":")[2]
    subject.send(signal.SIGKILL)
    assert subject.wait_end() == -signal.SIGKILL
    left = os.stat(stage.place / "x.sock")
    assert stat.S_ISSOCK(left.st_mode)
    (stage.place / "log").unlink()
    again = stage.run(HELLO, listen=[f"127.0.0.1:{port}", "unix:x.sock"])
    assert all(hello(address).endswith(" 1") for address in listening_on(again))
    assert again.quit() == 0
    assert not list(stage.place.glob("x.sock*"))


def test_a_restart_listens_on_the_same_port_while_a_client_is_connected(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    subject = stage.start(HELLO.replace("sock.close()", "self.kept = sock"), listen=f"127.0.0.1:{port}")
    with connect(f"127.0.0.1:{port}") as client:
        client.recv(9)
        assert stage.command("restart").code == 0
        assert client.recv(9) == b""
    assert subject.logged("Ghost process .* stopped")
    assert stage.command("stop").code == 0
    wait_until(lambda: not offspring_of(subject.pid), what="its end")


# ── several ghosts ──
def test_of_many_that_want_one_path_at_the_same_moment_one_has_it(stage: Stage) -> None:
    path = stage.place / "x.sock"
    script = stage.place / "many.py"
    options = {"listen": f"unix:{path}", "spirits": 1, "name": "many"}
    script.write_text(
        f"{PRELUDE}NOTES = {str(stage.place / 'notes')!r}\nOPTIONS = {options!r}\n"
        f"OPTIONS['pidfile'] = OPTIONS['logfile'] = sys.argv.pop()\nOPTIONS['pidfile'] += '.pid'\n{HELLO}{END}"
    )
    for _ in range(3):
        words = [sys.executable, str(script)]
        names = [str(stage.place / f"ghost-{number}") for number in range(8)]
        starts = [
            subprocess.Popen([*words, "start", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in names
        ]
        said = [one.communicate(timeout=60) for one in starts]
        codes = [one.returncode for one in starts]
        assert sorted(codes) == [0, *[ExitCode.NO_ADDRESS] * 7], said
        assert all(b"another ghost does" in err or b"another process" in err for _, err in said if err)
        winner = names[codes.index(0)]
        assert hello(f"unix:{path}") == "0 1"
        assert subprocess.run([*words, "stop", winner], check=False, capture_output=True, timeout=60).returncode == 0
        assert not list(stage.place.glob("x.sock*"))
        assert not list(stage.place.glob("*.pid*"))


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


# ── another user ──
@needs_root
def test_a_low_port_is_opened_before_rights_are_given_up(stage: Stage) -> None:
    body = HELLO.replace('note("fds"', 'note("uid", os.getuid())\n        note("fds"')
    with open_stage() as place:
        subject = place.run(body, listen=["127.0.0.1:1", "unix:x.sock"], user="nobody", group="nogroup")
        assert {note.more for note in subject.wait_notes("uid", 2)} == {(str(NOBODY),)}
        found = os.stat(place.place / "x.sock")
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o660)
        assert [hello(address)[-1] for address in listening_on(subject)] == ["1", "1"]
        assert subject.quit() == 0
        assert not list(place.place.glob("x.sock*"))


@needs_root
def test_a_socket_file_that_may_not_be_removed_any_more_is_told_and_replaced_by_the_next(stage: Stage) -> None:
    with open_stage() as place:
        (place.place / "notes").touch()
        (place.place / "notes").chmod(0o666)
        closed = place.place / "closed"
        closed.mkdir(mode=0o755)
        for _ in range(2):
            subject = place.run(HELLO, listen=f"unix:{closed}/x.sock", user="nobody", group="nogroup")
            assert hello(listening_on(subject)[-1])[-1] == "1"
            assert subject.quit() == 0
            assert subject.logged(r"x.sock cannot be removed: .*; the next start replaces it")
            (place.place / "log").unlink()


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
    stage: Stage,
) -> None:
    body = HELLO.replace(
        'note("fds"', 'note("environ", *[name for name in os.environ if name.startswith("LISTEN")])\n        note("fds"'
    )
    script = stage.write(body, logfile=True, listen=["systemd:api", "systemd:web"])
    starter = stage.place / "starter.py"
    starter.write_text(HAND_OVER)
    # The listeners stay open here, as they do with systemd.
    kept = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
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
    with socket.create_connection(("127.0.0.1", ports[0]), timeout=5) as client:  # nobody refuses it
        kept[0].settimeout(5)
        taken, _ = kept[0].accept()
        taken.sendall(b"next")
        assert client.recv(9) == b"next"
        taken.close()
    subject.wait_end()
    for one in kept:
        one.close()


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


def test_with_reuse_port_the_queue_of_a_killed_spirit_is_its_successors(stage: Stage) -> None:
    body = HELLO.replace("while self.tick():", "while self.tick():\n            time.sleep(0.02 * (self.serial < 3))")
    subject = stage.run(body, listen="127.0.0.1:0", reuse_port=True, spirits=2)
    (address,) = listening_on(subject)
    old = subject.spirits()
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    crowd = [connect(address) for _ in range(40)]
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert all(one.recv(9).endswith(b" 1") for one in crowd)
    subject.wait_spirits(2, without=old)
    assert subject.quit() == 0
    for one in crowd:
        one.close()
