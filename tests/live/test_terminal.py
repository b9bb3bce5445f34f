"""Terminals and whatever else a starter hands down: Ctrl-C, signals ignored or blocked, descriptors, directory, umask.

That Ctrl-C reaches the manager alone is in live/test_stop.py; that a closing terminal does not end a daemon, and that
closed stdio is filled, in unit/daemon/test_detach.py.
"""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ghostd.daemon.pidfile import FilePid
from tests.live.harness import WORK, Stage, Subject
from tests.support import children_of, deadline

pytestmark = pytest.mark.live

# Leaves only when the file is there.
HOLDS_ON: Final = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
        note("asked")
        while not os.path.exists(NOTES + ".go"):
            time.sleep(0.01)
"""

# Runs the command that follows with a signal ignored or blocked, or without descriptors.
ODD: Final = """\
import os, signal, sys
how, number, *words = sys.argv[1:]
if how == "ignored":
    signal.signal(int(number), signal.SIG_IGN)
elif how == "blocked":
    signal.pthread_sigmask(signal.SIG_BLOCK, [int(number)])
elif how == "closed":
    for fd in (0, 1, 2):
        os.close(fd)
elif how == "inherited":
    for _ in range(int(number)):
        os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
elif how == "umask":
    os.umask(int(number))
os.execv(words[0], words)
"""


def _odd(stage: Stage, word: str, how: str, number: int = 0) -> subprocess.CompletedProcess[str]:
    script = stage.place / "subject.py"
    words = [sys.executable, "-c", ODD, how, str(number), sys.executable, str(script), word]
    return subprocess.run(words, check=False, cwd=stage.place, capture_output=True, text=True, timeout=30)


def _started(stage: Stage, how: str, number: int = 0) -> Subject:
    done = _odd(stage, "start", how, number)
    assert done.returncode == 0, f"{done}\n{stage.log()}"
    first = (stage.place / "subject.pid").read_text().splitlines()[0]
    return Subject(stage, int(first))


# ── a terminal ──
def test_the_second_ctrl_c_on_a_terminal_stops_at_once(stage: Stage) -> None:
    script = stage.write(HOLDS_ON, logfile=True, graceful_timeout=600.0)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(stage.place)
        os.execv(sys.executable, [sys.executable, str(script), "run"])
    subject = Subject(stage, pid)
    subject.wait_log("Pool is whole")
    os.write(terminal, b"\x03")
    subject.wait_notes("asked", 2)
    assert subject.is_running() and len(subject.spirits()) == 2
    os.write(terminal, b"\x03")
    with deadline(30.0, "the second Ctrl-C"):
        subject.wait_end()
    os.close(terminal)
    assert not subject.logged("KeyboardInterrupt"), subject.report()


def test_the_log_of_a_run_appears_on_the_terminal(stage: Stage) -> None:
    script = stage.write(WORK, logfile=False)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(stage.place)
        os.execv(sys.executable, [sys.executable, str(script), "run"])
    seen = b""
    while b"Pool is whole" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    subject = Subject(stage, pid)
    try:
        while heard := os.read(terminal, 4096):
            seen += heard
    except OSError:
        pass  # nobody has the terminal open any more
    assert subject.wait_end() == 0
    os.close(terminal)
    assert b"Ghost process" in seen and b"stopped" in seen, seen
    assert b"\x1b" not in seen, "no control characters but line ends"


# ── signals that the starter ignored or blocked ──
@pytest.mark.parametrize("how", ["ignored", "blocked"])
@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGCHLD"])
def test_a_signal_ignored_or_blocked_at_start_is_handled(stage: Stage, name: str, how: str) -> None:
    stage.write(WORK, logfile=True)
    signum = signal.Signals[name]
    subject = _started(stage, how, signum)
    old = subject.wait_spirits(2)
    if signum is signal.SIGHUP:
        subject.send(signum)
        subject.wait_spirits(2, without=old)
    elif signum is signal.SIGUSR1:
        subject.send(signum)
        subject.wait_log("Log reopened")
    elif signum is signal.SIGCHLD:
        os.kill(min(old), signal.SIGKILL)
        subject.wait_spirits(2, without={min(old)})
    if signum in (signal.SIGINT, signal.SIGTERM):
        subject.send(signum)
        subject.wait_end()
    else:
        assert subject.quit() == 0


@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_a_spirit_heeds_signals_that_were_ignored_or_blocked_at_start(stage: Stage, how: str) -> None:
    stage.write(WORK, logfile=True, spirits=1)
    for signum in (signal.SIGTERM, signal.SIGQUIT):
        subject = _started(stage, how, signum)
        (spirit,) = subject.wait_spirits(1)
        os.kill(spirit, signum)
        subject.wait_spirits(1, without={spirit})
        assert subject.quit() == 0


# ── descriptors ──
def test_a_start_with_closed_stdio_works_and_nothing_takes_its_numbers(stage: Stage) -> None:
    stage.write(WORK, logfile=True)
    subject = _started(stage, "closed")
    for pid in (subject.pid, *subject.wait_spirits(2)):
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        for fd in (1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == str(stage.place / "log"), (pid, fd)
    assert FilePid(stage.place / "subject.pid").holder() == subject.pid, "the lock was not taken for one of the three"
    assert not subject.logged("missing")
    assert subject.quit() == 0


@pytest.mark.parametrize("word", ["stop", "status"])
def test_a_command_with_closed_stdio_has_its_exit_code(stage: Stage, word: str) -> None:
    stage.write(WORK, logfile=True)
    assert _odd(stage, word, "closed").returncode == {"stop": 0, "status": 3}[word]


def test_descriptors_that_the_starter_left_open_are_closed_in_daemon_and_spirits(stage: Stage) -> None:
    stage.write(WORK, logfile=True)
    plain = _started(stage, "nothing")
    expected = [_descriptors(pid) for pid in (plain.pid, min(plain.wait_spirits(2)))]
    assert plain.quit() == 0
    subject = _started(stage, "inherited", 20)
    found = [_descriptors(pid) for pid in (subject.pid, min(subject.wait_spirits(2)))]
    assert found == expected
    assert subject.quit() == 0


def _descriptors(pid: int) -> list[str]:
    """The kinds of its descriptors: what differs between two runs is cut off."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return sorted(link.split("[")[0].split(":")[0] for link in links)


# ── the starter's directory and umask ──
@pytest.mark.parametrize("mask", [0o000, 0o077], ids=oct)
def test_the_umask_is_the_ghosts_own_whatever_the_starters(stage: Stage, mask: int) -> None:
    stage.write(WORK, logfile=True)
    subject = _started(stage, "umask", mask)
    subject.wait_notes("ready", 2)
    modes = {name: (stage.place / name).stat().st_mode & 0o777 for name in ("subject.pid", "log", "notes")}
    assert modes["subject.pid"] == 0o644, modes
    assert modes["notes"] == 0o644, modes
    assert modes["log"] & 0o022 == 0, modes
    assert (stage.place / "subject.pid.lock").stat().st_mode & 0o077 == 0
    assert subject.quit() == 0


def test_the_umask_option_holds_for_files_of_spirits(stage: Stage) -> None:
    subject = stage.start(umask=0o077)
    subject.wait_notes("ready", 2)
    assert (stage.place / "notes").stat().st_mode & 0o777 == 0o600
    assert subject.quit() == 0


def _from_nowhere(stage: Stage, word: str) -> subprocess.CompletedProcess[str]:
    gone = stage.place / "gone"
    gone.mkdir()
    script = stage.place / "subject.py"
    words = ["bash", "-c", 'rmdir ../gone; exec "$@"', "-", sys.executable, str(script), word]
    return subprocess.run(words, check=False, cwd=gone, capture_output=True, text=True, timeout=30)


def test_a_start_from_a_directory_that_was_removed_works_where_the_paths_are_absolute(stage: Stage) -> None:
    stage.write(WORK, logfile=True)
    done = _from_nowhere(stage, "start")
    assert done.returncode == 0, done
    subject = Subject(stage, int(done.stdout.split()[-1]))
    assert subject.quit() == 0


def test_a_relative_pidfile_in_a_directory_that_was_removed_is_an_error_of_the_option(stage: Stage) -> None:
    stage.write(WORK, logfile=True, pidfile="relative.pid")
    done = _from_nowhere(stage, "start")
    assert done.returncode != 0
    assert "option pidfile: 'relative.pid'" in done.stderr, done.stderr


def test_a_start_without_path_home_and_everything_works(stage: Stage) -> None:
    script = stage.write(WORK, logfile=True)
    words = [sys.executable, str(script), "start"]
    done = subprocess.run(words, check=False, cwd=stage.place, capture_output=True, text=True, timeout=30, env={})
    assert done.returncode == 0, done
    subject = Subject(stage, int(done.stdout.split()[-1]))
    old = subject.wait_spirits(2)
    subject.send(signal.SIGHUP)
    subject.wait_spirits(2, without=old)
    assert children_of(subject.pid)
    assert subject.quit() == 0
