"""Stops: graceful or at once, one made into the other, bounded from any state, and none is lost."""

import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from tests.live.harness import AT_ONCE, WORK, WORK_WITHOUT_PIDFD, Stage, Subject, moment
from tests.support import PATIENCE, needs_tool, wait_gone, wait_until

pytestmark = pytest.mark.live

QUIT, TERM, INT = signal.SIGQUIT, signal.SIGTERM, signal.SIGINT

# Finishes its job, when asked to leave, as soon as the file is there.
HAS_A_JOB = """\
class Subject(Prefork):
    def finish(self, graceful):
        note("finish", graceful)

    def cleanup(self, scope):
        note("cleanup", scope)

    def spirit(self):
        while self.tick():
            time.sleep(0.01)
        note("asked")
        while not os.path.exists(PLACE + "/finished"):
            time.sleep(0.01)
        note("leave")
"""


def with_job(stage: Stage) -> str:
    return f"PLACE = {str(stage.place)!r}\n{HAS_A_JOB}"


def words(subject: Subject) -> list[str]:
    return [" ".join((note.word, *note.more)) for note in subject.notes()]


@pytest.mark.parametrize("body", [WORK, WORK_WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])
def test_quit_stops_a_daemon_gracefully(stage: Stage, body: str) -> None:
    subject = stage.start(body, spirits=3)
    assert subject.quit() == 0
    assert len(subject.notes("leave")) == 3
    assert len(subject.logged(r"Stopping spirit \d+ gracefully \(10 seconds\)")) == 3
    assert not subject.logged("immediately|SIGKILL")
    assert not (stage.place / "subject.pid").exists()


@pytest.mark.parametrize("signum", [TERM, INT])
def test_term_and_int_stop_a_daemon_at_once(stage: Stage, signum: int) -> None:
    subject = stage.start(with_job(stage))
    at = moment()
    subject.send(signum)
    assert subject.wait_end() == 0
    assert moment() - at < AT_ONCE
    assert words(subject) == ["finish False", "cleanup 1"]
    assert len(subject.logged("killed by SIGKILL.*stop at once")) == 2


@pytest.mark.parametrize("signum", [TERM, INT])
def test_in_the_foreground_term_and_int_are_graceful(stage: Stage, signum: int) -> None:
    subject = stage.run(with_job(stage))
    subject.send(signum)
    subject.wait_notes("asked", 2)
    assert subject.is_running()
    (stage.place / "finished").touch()
    assert subject.wait_end() == 0
    assert len(subject.notes("leave")) == 2
    assert [one for one in words(subject) if one.startswith(("finish", "cleanup"))] == ["finish True", "cleanup 0"]


@pytest.mark.parametrize("first", [TERM, INT, QUIT])
@pytest.mark.parametrize("second", [TERM, INT])
def test_in_the_foreground_a_second_signal_stops_at_once(stage: Stage, first: int, second: int) -> None:
    subject = stage.run(with_job(stage))
    subject.send(first)
    subject.wait_notes("asked", 2)
    at = moment()
    subject.send(second)
    assert subject.wait_end() == 0
    assert moment() - at < AT_ONCE
    assert not subject.notes("leave")
    assert [note.more for note in subject.notes("finish")] == [("True",), ("False",)]


def test_term_after_quit_stops_a_daemon_at_once(stage: Stage) -> None:
    subject = stage.start(with_job(stage))
    subject.send(QUIT)
    subject.wait_notes("asked", 2)
    at = moment()
    subject.send(TERM)
    assert subject.wait_end() == 0
    assert moment() - at < AT_ONCE
    assert [one for one in words(subject) if one != "asked"] == ["finish True", "finish False", "cleanup 1"]


def test_a_thousand_quits_are_one(stage: Stage) -> None:
    subject = stage.start(with_job(stage))
    for _ in range(1000):
        subject.send(QUIT)
    subject.wait_notes("asked", 2)
    for _ in range(1000):
        subject.send(QUIT)
    (stage.place / "finished").touch()
    assert subject.wait_end() == 0
    assert len(subject.notes("leave")) == 2
    assert [note.more for note in subject.notes("finish")] == [("True",)]


@pytest.mark.parametrize("late", ["SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2"])
def test_nothing_but_a_stronger_stop_changes_a_stop(stage: Stage, late: str) -> None:
    subject = stage.start(with_job(stage))
    spirits = subject.spirits()
    subject.send(QUIT)
    subject.wait_notes("asked", 2)
    subject.send(signal.Signals[late])
    subject.send(signal.Signals[late])
    until = moment() + 0.3
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits
    (stage.place / "finished").touch()
    assert subject.wait_end() == 0
    assert len(subject.logged(r"Spirit \d+ started")) == 2


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGCHLD", "SIGPIPE"])
def test_no_other_signal_ends_a_manager(stage: Stage, name: str) -> None:
    subject = stage.start()
    subject.send(signal.Signals[name])
    subject.send(signal.SIGTTIN)
    subject.wait_spirits(3)
    assert subject.quit() == 0


IGNORED = "CHLD,TERM,QUIT,INT,HUP,USR1,TTIN,TTOU"


@needs_tool("env")
@pytest.mark.parametrize("how", ["--ignore-signal", "--block-signal"])
def test_signals_that_the_caller_ignored_or_blocked_are_heard_all_the_same(stage: Stage, how: str) -> None:
    subject = stage.run(prefix=["env", f"{how}={IGNORED}"])
    victim = min(subject.spirits())
    os.kill(victim, signal.SIGKILL)
    subject.wait_log(f"Spirit {victim} stopped .*killed by SIGKILL")
    os.kill(min(subject.wait_spirits(2, without={victim})), TERM)
    subject.wait_log("killed by SIGTERM")
    subject.wait_spirits(2)
    assert subject.quit() == 0
    assert len(subject.notes("leave")) == 2


# ── bounds ──
NEVER_LEAVES = """\
class Subject(Prefork):
    def spirit(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGQUIT, signal.SIGTERM})
        while True:
            self.tick()
            time.sleep(0.01)
"""


def test_a_graceful_stop_ends_at_its_limit_when_a_spirit_does_not_leave(stage: Stage) -> None:
    subject = stage.run(NEVER_LEAVES, graceful_timeout=1.0)
    at = moment()
    assert subject.quit() == 0
    assert 0.95 < moment() - at < AT_ONCE
    assert len(subject.logged("immediately.*did not leave in time, after 1")) == 2


def test_the_stop_command_waits_for_the_graceful_limit_and_ends_with_the_manager(stage: Stage) -> None:
    subject = stage.start(NEVER_LEAVES, graceful_timeout=1.0)
    at = moment()
    answer = stage.command("stop")
    assert (answer.code, answer.out) == (0, f"Stopped {subject.pid}")
    assert 0.95 < moment() - at < AT_ONCE
    assert subject.wait_end() == 0


def test_a_spirit_whose_graceful_limit_is_zero_is_killed_at_once(stage: Stage) -> None:
    subject = stage.run(NEVER_LEAVES, graceful_timeout=0.0)
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < AT_ONCE


HANGS_OR_BOOTS = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        if self.serial > 3:
            while True:  # never ready
                pass
        while self.tick():
            time.sleep(0.01)
            if self.serial == 1 and os.path.exists("go"):
                while True:  # silent
                    pass
"""


def test_a_stop_is_bounded_while_one_spirit_is_silent_another_boots_and_a_third_stands_still(stage: Stage) -> None:
    subject = stage.run(
        HANGS_OR_BOOTS, spirits=3, heartbeat_timeout=0.8, graceful_timeout=1.0, silent_timeout=20.0, boot_timeout=60.0
    )
    (stage.place / "go").touch()
    subject.wait_notes("begin", 4)
    subject.wait_log("has no heartbeat")
    os.kill(max(subject.spirits() - {note.pid for note in subject.notes("begin")[3:]}), signal.SIGSTOP)
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < AT_ONCE


# ── no stop is lost by a newborn ──
ASKED_AT_BIRTH = """\
class Subject(Prefork):
    born = 0

    def spawn(self, pid):
        self.born += 1
        if 2 < self.born <= 32:
            os.kill(pid, signal.SIGQUIT)
            note("asked", pid)

    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
        note("leave")
"""


def test_a_quit_that_comes_before_a_newborn_has_its_handlers_is_kept_for_it(stage: Stage) -> None:
    subject = stage.run(ASKED_AT_BIRTH)
    os.kill(min(subject.spirits()), signal.SIGKILL)
    asked = {int(note.more[0]) for note in subject.wait_notes("asked", 30)}
    wait_gone(*asked)
    subject.wait_spirits(2)
    assert {note.pid for note in subject.notes("leave")} == asked, "each has heard it"
    assert not subject.logged("SIGQUIT"), "and nobody died of it"
    assert subject.quit() == 0


@pytest.mark.parametrize("body", [WORK, WORK_WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])
def test_a_stop_while_sixty_spirits_are_being_born_reaches_them_all(stage: Stage, body: str) -> None:
    subject = stage.run(body, whole=False, spirits=60, graceful_timeout=30.0)
    subject.wait_log(r"Spirit \d+ started", 20)
    at = moment()
    assert subject.quit() == 0
    assert moment() - at < 30.0, "none of them has to be killed"
    assert not subject.logged("immediately|SIGKILL|SIGQUIT")


def test_a_stop_during_init_is_carried_out_in_order_and_makes_no_pool(stage: Stage) -> None:
    body = (
        "class Subject(Prefork):\n    def init(self):\n        note('init')\n"
        "        while not os.path.exists('asked'):\n            time.sleep(0.01)\n"
    )
    more = (
        "    def cleanup(self, scope):\n        note('cleanup', scope)\n    def spirit(self):\n        note('begin')\n"
    )
    subject = stage.run(body + more, whole=False)
    subject.wait_notes("init")
    subject.send(QUIT)
    (stage.place / "asked").touch()
    assert subject.wait_end() == 0
    assert words(subject) == ["init", "cleanup 0"]


# ── a terminal ──
def test_ctrl_c_on_a_terminal_reaches_the_manager_alone(stage: Stage) -> None:
    script = stage.write(WORK, logfile=True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(stage.place)
        os.execv(sys.executable, [sys.executable, str(script), "run"])
    subject = Subject(stage, pid)
    subject.wait_log("Pool is whole")
    os.write(terminal, b"\x03")
    assert subject.wait_end() == 0
    os.close(terminal)
    assert len(subject.notes("leave")) == 2, "the spirits were asked by the manager"
    assert not subject.logged("SIGINT|KeyboardInterrupt"), subject.report()


def test_a_signal_to_the_managers_group_does_not_reach_the_spirits(stage: Stage) -> None:
    script = stage.write(WORK, logfile=True)
    process = subprocess.Popen([sys.executable, str(script), "run"], cwd=stage.place, process_group=0)
    subject = Subject(stage, process.pid)
    subject.wait_log("Pool is whole")
    os.killpg(process.pid, TERM)
    assert process.wait(PATIENCE) == 0
    assert len(subject.notes("leave")) == 2
    assert not re.search("SIGTERM", subject.log())
