"""The manager is killed at any moment: no spirit outlives it, and the next start works."""

import os
import random
import signal

import pytest

from tests.live.harness import WORK, WORK_WITHOUT_PIDFD, Stage, Subject, moment
from tests.support import children_of, end_all, reap_zombies, wait_gone, wait_until

pytestmark = pytest.mark.live

CHANCE = random.Random(20)
MOMENTS = 30


def wait(seconds: float) -> None:
    until = moment() + seconds
    wait_until(lambda: moment() > until)


def kill_manager(subject: Subject) -> None:
    """And see that nothing of it is left."""
    os.kill(subject.pid, signal.SIGKILL)
    assert subject.wait_end() == -signal.SIGKILL


@pytest.mark.slow
def test_a_manager_killed_at_any_moment_leaves_no_spirit_and_the_next_start_works(stage: Stage) -> None:
    for count in range(MOMENTS):
        already = stage.log().count("Pool is whole")
        subject = stage.run(whole=False, spirits=4)
        if count % 3:  # somewhere in the start, which takes some 0.2 s
            wait(CHANCE.uniform(0.05, 0.35))
        else:  # in the middle of a storm of deaths
            subject.wait_log("Pool is whole", already + 1)
            for pid in subject.spirits():
                os.kill(pid, signal.SIGKILL)
            wait(CHANCE.uniform(0.0, 0.01))
        kill_manager(subject)
    subject = stage.run(whole=False)
    subject.wait_spirits(2)
    assert subject.quit() == 0


HANGS = """\
class Subject(Prefork):
    def spirit(self):
        self.ready()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        note("deaf")
        while True:
            pass
"""


def test_spirits_that_hang_deaf_to_all_signals_go_with_a_killed_manager_too(stage: Stage) -> None:
    subject = stage.run(HANGS)
    subject.wait_notes("deaf", 2)
    kill_manager(subject)


FORGOTTEN_BY_THE_KERNEL = """\
import ctypes

class Subject(Prefork):
    def spirit(self):
        self.ready()
        assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0  # PR_SET_PDEATHSIG: none, as after a change of user
        note("forgotten")
        while True:
            pass
"""


def test_spirits_whose_death_signal_the_kernel_has_dropped_go_with_a_killed_manager_too(stage: Stage) -> None:
    subject = stage.run(FORGOTTEN_BY_THE_KERNEL)
    subject.wait_notes("forgotten", 2)
    os.kill(min(subject.spirits()), signal.SIGKILL)
    subject.wait_notes("forgotten", 3)
    kill_manager(subject)


def test_spirits_that_are_stopped_go_with_a_killed_manager_too(stage: Stage) -> None:
    subject = stage.run()
    for pid in subject.spirits():
        os.kill(pid, signal.SIGSTOP)
    kill_manager(subject)


HAS_STARTED = """\
import subprocess

class Subject(Prefork):
    def spirit(self):
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
        child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
        child.stdout.readline()
        if os.fork() == 0:
            if os.fork():
                os._exit(0)  # an orphan, as of a shell that has ended
            note("started")
            time.sleep(1000)
        if OPTIONS["name"] == "leaves":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
        note("started")
        while self.tick():
            time.sleep(0.01)
"""


def test_what_spirits_have_started_goes_with_a_killed_manager_too(stage: Stage) -> None:
    for count in range(5):
        subject = stage.run(HAS_STARTED, whole=False)
        subject.wait_notes("started", 4 * (count + 1))
        kill_manager(subject)


def test_what_has_left_the_group_of_its_spirit_is_not_ended_by_anybody(stage: Stage) -> None:
    subject = stage.run(HAS_STARTED, name="leaves", spirits=1)
    subject.wait_notes("started", 2)
    (spirit,) = subject.spirits()
    (free,) = [pid for pid in children_of(spirit) if os.getsid(pid) == pid]
    os.kill(subject.pid, signal.SIGKILL)
    wait_gone(spirit)
    wait_until(lambda: reap_zombies({subject.pid}) == {free}, what="that one alone is left")
    end_all({free})
    assert subject.wait_end() == -signal.SIGKILL


@pytest.mark.parametrize("body", [WORK, WORK_WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])
def test_after_a_killed_daemon_the_status_says_so_and_the_next_start_works(stage: Stage, body: str) -> None:
    subject = stage.start(body)
    kill_manager(subject)
    assert (stage.command("status").code, stage.command("status").out) == (1, "Not running")
    assert stage.command("stop").out == "Not running"
    answer = stage.command("start")
    assert answer.code == 0
    fresh = Subject(stage, stage.pid_of(answer))
    assert fresh.pid != subject.pid
    fresh.wait_spirits(2)
    assert fresh.quit() == 0
