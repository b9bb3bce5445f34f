"""A ghost that listens: its sockets are opened before it detaches, kept over a reload, and gone when it has ended."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import END, PRELUDE, Stage, Subject
from tests.live.listening import HELLO, SLOW, connect, hello, listening_on
from tests.live.places import NOBODY, open_stage
from tests.live.streams import Dial
from tests.support import needs_root, offspring_of, wait_until

pytestmark = pytest.mark.live


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
    opens = {f"ghostd.serve.{name}" for name in ("address", "listeners", "opening", "passed", "seats", "socketfile")}
    assert not opens & set(subject.wait_notes("loaded")[0].more)
    assert subject.wait_notes("sockets")[0].more == ("0",)
    assert subject.quit() == 0


# ── the end ──
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:x.sock"])
def test_what_waits_when_a_graceful_stop_begins_is_answered(stage: Stage, dial: Dial, listen: str) -> None:
    subject = stage.run(SLOW, listen=listen)
    (address,) = listening_on(subject)
    crowd = [dial(address) for _ in range(20)]
    subject.send(signal.SIGQUIT)
    assert [one.recv(10) for one in crowd] == [b"late"] * 20
    assert subject.wait_end() == 0
    assert not subject.logged("Closing ")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:x.sock"])
def test_who_comes_while_the_last_work_is_finished_is_refused(stage: Stage, listen: str) -> None:
    body = (
        HELLO
        + """\
        note("working")
        while not os.path.exists("done"):
            time.sleep(0.01)
"""
    )
    subject = stage.run(body, listen=listen)
    (address,) = listening_on(subject)
    subject.send(signal.SIGQUIT)
    subject.wait_notes("working", 2)
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    assert len(subject.spirits()) == 2  # they work on
    (stage.place / "done").touch()
    assert subject.wait_end() == 0


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:x.sock"])
def test_what_nobody_has_taken_at_the_end_is_counted(stage: Stage, dial: Dial, listen: str) -> None:
    subject = stage.run(SLOW.replace("0.2", "-1"), listen=listen)
    (address,) = listening_on(subject)
    for _ in range(3):
        dial(address)
    assert subject.quit() == 0
    assert subject.logged(rf"\[warn\] Closing {re.escape(address)}: 3 connections that wait are reset")


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
@pytest.mark.parametrize("kind", ["path", "port"])
def test_of_many_that_want_one_address_at_the_same_moment_one_has_it(stage: Stage, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"unix:{stage.place}/x.sock" if kind == "path" else f"127.0.0.1:{probe.getsockname()[1]}"
    script = stage.place / "many.py"
    options = {"listen": address, "spirits": 1, "name": "many"}
    script.write_text(
        f"{PRELUDE}NOTES = {str(stage.place / 'notes')!r}\nOPTIONS = {options!r}\n"
        f"OPTIONS['pidfile'] = OPTIONS['logfile'] = sys.argv.pop()\nOPTIONS['pidfile'] += '.pid'\n{HELLO}{END}"
    )
    words = [sys.executable, str(script)]
    names = [str(stage.place / f"ghost-{number}") for number in range(8)]
    for _ in range(2):
        starts = [
            subprocess.Popen([*words, "start", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in names
        ]
        said = [one.communicate(timeout=60) for one in starts]
        codes = [one.returncode for one in starts]
        assert sorted(codes) == [0, *[ExitCode.NO_ADDRESS] * 7], said
        assert all(b"another ghost does" in err or b"another process" in err for _, err in said if err)
        assert hello(address) == "0 1"
        winner = names[codes.index(0)]
        assert subprocess.run([*words, "stop", winner], check=False, capture_output=True, timeout=60).returncode == 0
        assert not list(stage.place.glob("x.sock*"))
        assert not list(stage.place.glob("*.pid*"))


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
