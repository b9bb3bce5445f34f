"""What the init system and probes hear of real ghosts: when they can work, when not, and nothing that is not so."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostd.errors import ExitCode
from tests.ears import Ears
from tests.live.harness import WORK, Stage, Subject
from tests.live.places import told
from tests.support import wait_until

pytestmark = pytest.mark.live

# The second spirit, and each that is made later, is ready when the file `go` is there.
SLOW = """\
class Subject(Prefork):
    def spirit(self):
        note("begin", self.seat)
        while self.serial > 1 and not os.path.exists("go"):
            time.sleep(0.005)
        while self.tick():
            time.sleep(0.005)
"""

# Once the file `poison` is there, each spirit dies as soon as it begins.
POISONED = """\
class Subject(Prefork):
    def spirit(self):
        while not os.path.exists("poison") and self.tick():
            time.sleep(0.005)
        if self.ok:
            os._exit(9)
"""

PLAIN = """\
class Subject(Ghost):
    def startup(self):
        while self.ok:
            time.sleep(0.005)
"""

ENVIRON = """\
import subprocess

class Subject(Prefork):
    def spirit(self):
        for who in (os.environ, eval(subprocess.run(
            [sys.executable, "-c", "import os; print(dict(os.environ))"], capture_output=True, text=True).stdout)):
            note("told", *(name for name in who if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN"))))
        while self.tick():
            time.sleep(0.01)
"""


@pytest.fixture
def ears(stage: Stage) -> Iterator[Ears]:
    made = Ears(stage.place / "notify")
    yield made
    made.close()


def run(
    stage: Stage, ears: Ears, body: str = WORK, *, whole: bool = True, watchdog: int = 0, **options: object
) -> Subject:
    environ = {"NOTIFY_SOCKET": ears.address} | ({"WATCHDOG_USEC": str(watchdog)} if watchdog else {})
    return stage.run(body, prefix=(), environ=environ, whole=whole, **options)


def check(stage: Stage, *words: str) -> tuple[int, str]:
    """What a probe answers."""
    command = [sys.executable, "-m", "ghostd", "check", "--pidfile", str(stage.place / "subject.pid"), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, (done.stdout + done.stderr).strip()


# ── starting ──
def test_ready_is_told_when_the_pool_is_whole_and_not_before(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears, SLOW, whole=False)
    ears.wait("STATUS", "starting: 1 of 2 spirits ready")
    assert check(stage, "--ready") == (ExitCode.FAILED, f"Not ready {subject.pid}")
    assert check(stage, "--live") == (ExitCode.OK, f"Running {subject.pid}")
    assert "READY" not in ears.words()
    assert all("EXTEND_TIMEOUT_USEC" in one.says for one in ears.all), "a long boot is given its time"
    (stage.place / "go").touch()
    ready = ears.wait("READY")
    assert ready.says == {"READY": "1", "STATUS": "2 of 2 spirits ready, generation 1", "MAINPID": str(subject.pid)}
    assert ready.sender == subject.pid
    assert check(stage, "--ready") == (ExitCode.OK, f"Ready {subject.pid}")
    assert subject.quit() == 0
    assert ears.words().count("READY") == 1


def test_a_pool_that_never_becomes_whole_is_never_told_as_ready(stage: Stage, ears: Ears) -> None:
    (stage.place / "poison").touch()
    subject = run(stage, ears, POISONED, whole=False)
    assert subject.wait_end() == ExitCode.BOOT_FAILED
    assert "READY" not in ears.words()
    assert check(stage) == (ExitCode.NOT_RUNNING, "Not running")


def test_a_daemon_tells_the_pid_that_it_has_after_it_detached(stage: Stage, ears: Ears) -> None:
    stage.write(WORK, logfile=True)
    answer = told(stage, "start", environ={"NOTIFY_SOCKET": ears.address})
    subject = Subject(stage, stage.pid_of(answer))
    assert ears.wait("READY").says["MAINPID"] == str(subject.pid)
    assert stage.command("stop").code == 0
    ears.wait("STOPPING")
    stage.wait_code(subject.pid)


def test_what_the_init_system_has_no_room_for_at_the_start_comes_when_it_reads(stage: Stage, ears: Ears) -> None:
    ears.fill()
    subject = run(stage, ears)
    assert "NOISE" in ears.words()
    ears.wait("READY")
    assert subject.quit() == 0


# ── what changes while it runs ──
def test_the_status_follows_the_spirits(stage: Stage, ears: Ears) -> None:
    (stage.place / "go").touch()
    subject = run(stage, ears, SLOW)
    ears.wait("READY")
    (stage.place / "go").unlink()
    os.kill(subject.notes("begin")[0].pid, signal.SIGKILL)
    ears.wait("STATUS", "1 of 2 spirits ready, generation 1")
    assert check(stage) == (ExitCode.OK, f"Ready {subject.pid}"), "one that can work is there"
    os.kill(subject.notes("begin")[1].pid, signal.SIGKILL)
    ears.wait("STATUS", "0 of 2 spirits ready, generation 1")
    assert check(stage) == (ExitCode.FAILED, f"Not ready {subject.pid}")
    (stage.place / "go").touch()
    ears.wait("STATUS", "2 of 2 spirits ready, generation 1", count=2)
    assert check(stage) == (ExitCode.OK, f"Ready {subject.pid}")
    assert subject.quit() == 0


def test_a_reload_begins_after_it_was_asked_for_and_ends_ready(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears)
    ears.wait("READY")
    asked = time.clock_gettime(time.CLOCK_MONOTONIC)
    subject.send(signal.SIGHUP)
    begun = ears.wait("RELOADING")
    assert int(begun.says["MONOTONIC_USEC"]) >= int(asked * 1e6), "else systemd takes it for an older one"
    ended = ears.wait("READY", count=2)
    assert ended.says["STATUS"] == "2 of 2 spirits ready, generation 2"
    assert ears.all.index(begun) < ears.all.index(ended)
    assert subject.quit() == 0


def test_a_reload_without_spirits_ends_too(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears, spirits=0)
    ears.wait("READY")
    subject.send(signal.SIGHUP)
    ears.wait("RELOADING")
    ears.wait("READY", count=2)
    assert subject.quit() == 0


def test_a_stop_is_told_before_the_spirits_have_left_and_gets_its_time(stage: Stage, ears: Ears) -> None:
    stays = 'while not os.path.exists("go"):\n            time.sleep(0.01)\n        note("leave"'
    body = WORK.replace('note("leave"', stays)
    subject = run(stage, ears, body, graceful_timeout=300.0)
    ears.wait("READY")
    subject.send(signal.SIGTERM)
    stopping = ears.wait("STOPPING")
    assert not subject.notes("leave")
    assert int(stopping.says["EXTEND_TIMEOUT_USEC"]) == 305_000_000, "graceful_timeout and stop_margin"
    assert check(stage) == (ExitCode.FAILED, f"Not ready {subject.pid}")
    (stage.place / "go").touch()
    assert subject.wait_end() == 0
    assert not list(stage.place.glob("subject.pid*"))


def test_a_ghost_without_a_pool_tells_the_same(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears, PLAIN, whole=False, watchdog=100_000)
    assert ears.wait("READY").says["STATUS"] == "running"
    ears.wait("WATCHDOG", count=3)
    wait_until(lambda: check(stage) == (ExitCode.OK, f"Ready {subject.pid}"))
    subject.send(signal.SIGHUP)
    ears.wait("RELOADING")
    ears.wait("READY", count=2)
    subject.send(signal.SIGTERM)
    ears.wait("STOPPING")
    assert subject.wait_end() == 0


# ── the watchdog ──
def test_the_watchdog_hears_of_a_running_manager_in_time_and_of_a_stopped_one_nothing(stage: Stage, ears: Ears) -> None:
    begun = time.monotonic()
    subject = run(stage, ears, watchdog=400_000)
    ears.wait("WATCHDOG", count=8)
    told = ears.words().count("WATCHDOG")
    assert told <= (time.monotonic() - begun) / 0.2 + 2, "twice in its time, and no more"
    subject.send(signal.SIGSTOP)
    wait_until(lambda: check(stage, "--live")[0] == ExitCode.FAILED)
    ears.read()
    count = ears.words().count("WATCHDOG")
    time.sleep(0.5)
    assert ears.words().count("WATCHDOG") == count
    subject.send(signal.SIGCONT)
    ears.wait("WATCHDOG", count=count + 1)
    assert subject.quit() == 0


def test_the_watchdog_hears_nothing_of_a_pool_in_which_no_spirit_stays_alive(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears, POISONED, watchdog=100_000, young=60.0, backoff_first=0.3, backoff_most=0.3)
    ears.wait("WATCHDOG", count=2)
    (stage.place / "poison").touch()
    subject.wait_log("early", count=6)
    ears.read()
    count = ears.words().count("WATCHDOG")
    subject.wait_log("early", count=10)
    assert ears.words().count("WATCHDOG") == count
    assert check(stage)[0] == ExitCode.FAILED
    (stage.place / "poison").unlink()
    ears.wait("WATCHDOG", count=count + 2)
    assert subject.quit() == 0


def test_nobody_is_woken_who_has_no_watchdog(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears)
    ears.wait("READY")
    status = Path(f"/proc/{subject.pid}/status")

    def switches() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary"))
        return int(line.split()[1])

    time.sleep(0.7)  # the last status line may have been put off
    before = switches()
    time.sleep(2.0)
    assert switches() - before <= 1
    assert subject.quit() == 0


# ── who may speak ──
def test_neither_spirits_nor_what_they_start_are_told_where_to_speak(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears, ENVIRON, watchdog=5_000_000)
    assert [note.more for note in subject.wait_notes("told", 4)] == [()] * 4
    assert subject.quit() == 0
    ears.read()
    assert {one.sender for one in ears.all} == {subject.pid}


# ── probes ──
def test_a_probe_does_not_believe_what_a_killed_manager_has_left(stage: Stage, ears: Ears) -> None:
    subject = run(stage, ears)
    assert check(stage)[0] == ExitCode.OK
    subject.send(signal.SIGKILL)
    assert subject.wait_end() == -signal.SIGKILL
    assert (stage.place / "subject.pid.ready").stat().st_size > 0
    for probe in ("--ready", "--live"):
        assert check(stage, probe) == (ExitCode.NOT_RUNNING, "Not running")
    assert stage.command("stop").code == 0
    assert not list(stage.place.glob("subject.pid*"))


def test_a_ready_file_of_ones_own_is_found_by_the_probe_and_by_a_shell(stage: Stage, ears: Ears) -> None:
    path = stage.place / "is-ready"
    subject = run(stage, ears, ready_file=str(path))
    assert check(stage, "--ready-file", str(path)) == (ExitCode.OK, f"Ready {subject.pid}")
    assert check(stage) == (ExitCode.FAILED, f"Not ready {subject.pid}")
    assert subprocess.run(["test", "-s", path], check=False).returncode == 0
    path.unlink()
    assert subprocess.run(["test", "-s", path], check=False).returncode == 1
    assert subject.quit() == 0


def test_a_ready_file_that_cannot_be_made_is_an_error_before_anything_runs(stage: Stage) -> None:
    subject = stage.run(whole=False, ready_file=str(stage.place / "no" / "ready"))
    assert subject.wait_end() == ExitCode.BAD_OPTION
    assert subject.logged(r"option ready_file: the directory .*/no does not exist")
