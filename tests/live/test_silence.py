"""A spirit that gives no sign of life is found in time, says where it stands, and is replaced; nobody else ever is."""

import os
import re
import signal
from typing import Any

import pytest

from tests.live.harness import AT_ONCE, WORK, Stage, Subject, moment
from tests.support import wait_until

pytestmark = pytest.mark.live

SILENCE = 1.0  # seconds: heartbeat_interval + heartbeat_timeout of these tests
LIMITS: dict[str, Any] = {"heartbeat_interval": 0.2, "heartbeat_timeout": 0.8, "silent_timeout": 0.6}

HANGS = """\
import re

def stands_still():
    note("hangs")
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)

def loops_for_ever():
    note("hangs")
    while True:
        pass

def backtracks():
    note("hangs")
    re.match("(a+)+$", "a" * 64 + "b")

def hears_nothing():
    note("hangs")
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        pass

class Subject(Prefork):
    def reap(self, pid):
        note("reap", pid)

    def spirit(self):
        note("begin", self.serial)
        while self.tick():
            if self.serial <= SICK and os.path.exists("go"):
                globals()[HOW]()
            time.sleep(0.01)
"""


def hang(stage: Stage, how: str) -> tuple[Subject, int]:
    """A pool of two of which the first spirit has just begun to hang, and the pid of that."""
    subject = stage.run(f"HOW, SICK = {how!r}, 1\n{HANGS}", **LIMITS)
    (stage.place / "go").touch()
    return subject, subject.wait_notes("hangs")[0].pid


def assert_refilled_first(subject: Subject, victim: int) -> None:
    """The seat was filled once the limit was over, and before the silent one had gone."""
    subject.wait_notes("begin", 3)
    subject.wait_log(f"Spirit {victim} stopped")
    (found,) = subject.logged("has no heartbeat")
    told = re.search(rf"Spirit {victim} has no heartbeat \((\S+) seconds\)", found)
    assert told and float(told[1]) >= SILENCE and "SIGKILL in 0.6 s" in found, found
    log = subject.log()
    assert log.index("has no heartbeat") < log.index("spirit 3, seat 2") < log.index(f"Spirit {victim} stopped")


@pytest.mark.parametrize("how", ["loops_for_ever", "backtracks"])
def test_a_spirit_that_is_stuck_in_code_is_found_names_it_and_is_killed(stage: Stage, how: str) -> None:
    subject, victim = hang(stage, how)
    (killed,) = subject.wait_log(f"Stopping spirit {victim} immediately")
    after = re.search(r"no heartbeat, after (\S+) s", killed)
    assert after and 0.6 <= float(after[1]) < AT_ONCE, killed
    assert f" in {how}" in subject.log(), "its stacks are in the log"
    assert subject.log().index(f" in {how}") < subject.log().index("immediately")
    assert_refilled_first(subject, victim)
    assert subject.quit() == 0


def test_a_spirit_that_is_deaf_to_all_signals_is_found_and_killed(stage: Stage) -> None:
    subject, victim = hang(stage, "hears_nothing")
    subject.wait_log(f"Stopping spirit {victim} immediately .*no heartbeat")
    subject.wait_log(f"Spirit {victim} stopped .*killed by SIGKILL")
    assert_refilled_first(subject, victim)
    assert subject.quit() == 0


def test_a_spirit_that_was_stopped_is_found_and_says_where_it_stood(stage: Stage) -> None:
    subject, victim = hang(stage, "stands_still")
    subject.wait_log(f"Spirit {victim} stopped")
    assert " in stands_still" in subject.log()
    subject.wait_spirits(2, without={victim})
    assert len(subject.logged("has no heartbeat")) == 1
    assert subject.quit() == 0


def test_eight_silent_spirits_have_all_their_seats_refilled_at_once(stage: Stage) -> None:
    options = LIMITS | {"silent_timeout": 60.0}  # none of which is waited for
    subject = stage.run(f"HOW, SICK = 'loops_for_ever', 8\n{HANGS}", spirits=8, spare=2, **options)
    (stage.place / "go").touch()
    victims = {note.pid for note in subject.wait_notes("hangs", 8)}
    subject.wait_notes("begin", 16)
    assert victims <= subject.spirits()
    subject.send(signal.SIGQUIT)
    subject.wait_log("gracefully")
    subject.send(signal.SIGTERM)
    assert subject.wait_end() == 0


BUSY = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        while self.tick():
            if self.serial == 1:
                with self.busy(60.0):
                    note("works")
                    time.sleep(2.2)
                    note("done")
                time.sleep(1000)
            time.sleep(0.01)
"""


def test_a_spirit_that_said_it_is_busy_is_left_alone_until_it_is_done_and_no_longer(stage: Stage) -> None:
    subject = stage.run(BUSY, **LIMITS)
    (done,) = subject.wait_notes("done")
    assert not subject.logged("has no heartbeat")
    at = subject.wait_notes("begin", 3)[-1].at
    assert SILENCE - 0.05 < at - done.at < SILENCE + AT_ONCE, "judged again from the end of the block"
    assert subject.quit() == 0


PROMISES_TOO_LITTLE = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        while self.tick():
            if self.serial == 1:
                note("works")
                with self.busy(1.5):
                    time.sleep(1000)
            time.sleep(0.01)
"""


def test_a_spirit_that_is_busy_for_longer_than_it_said_is_found_silent(stage: Stage) -> None:
    subject = stage.run(PROMISES_TOO_LITTLE, **LIMITS)
    (works,) = subject.wait_notes("works")
    at = subject.wait_notes("begin", 3)[-1].at
    assert 1.5 <= at - works.at < 1.5 + AT_ONCE
    assert subject.quit() == 0


LEAVES_SLOWLY = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        while self.tick():
            if self.serial == 1 and os.path.exists("go"):
                going_on = self.tick(finished=True)
                note("told", going_on, self.stopping, self.ok)
                while not os.path.exists("replaced"):
                    time.sleep(0.01)
                note("gone")
                return
            time.sleep(0.01)
"""


def test_a_spirit_that_says_it_will_leave_is_replaced_before_it_has_left(stage: Stage) -> None:
    subject = stage.run(LEAVES_SLOWLY)
    (stage.place / "go").touch()
    (told,) = subject.wait_notes("told")
    assert told.more == ("False", "True", "False")
    subject.wait_notes("begin", 3)
    assert told.pid in subject.spirits()
    (stage.place / "replaced").touch()
    subject.wait_log("spirit 1, seat 0: exit code 0.*it said that it leaves")
    assert subject.quit() == 0


# ── nobody is found silent who is not ──
def assert_nobody_was_judged(subject: Subject, spirits: set[int]) -> None:
    """For longer than the limit after this, the same spirits live."""
    until = moment() + SILENCE * 1.2
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits, subject.report()
    assert not subject.logged("no heartbeat|immediately"), subject.report()
    assert subject.quit() == 0


def freeze(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def thaw(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def wait_longer_than_the_limit() -> None:
    until = moment() + SILENCE * 1.4
    wait_until(lambda: moment() > until)


def test_a_manager_that_was_asleep_for_longer_than_the_limit_kills_nobody(stage: Stage) -> None:
    subject = stage.run(**LIMITS)
    spirits = subject.spirits()
    freeze(subject.pid)
    wait_longer_than_the_limit()
    thaw(subject.pid)
    assert_nobody_was_judged(subject, spirits)


@pytest.mark.parametrize("manager_first", [True, False])
def test_a_whole_ghost_that_was_asleep_for_longer_than_the_limit_kills_nobody(
    stage: Stage, manager_first: bool
) -> None:
    subject = stage.run(**LIMITS)
    spirits = subject.spirits()
    freeze(subject.pid, *spirits)
    wait_longer_than_the_limit()
    thaw(*([subject.pid, *spirits] if manager_first else [*spirits, subject.pid]))
    assert_nobody_was_judged(subject, spirits)


def test_spirits_that_wake_a_little_later_than_the_manager_are_not_judged_by_its_sleep(stage: Stage) -> None:
    subject = stage.run(**LIMITS)
    spirits = subject.spirits()
    freeze(subject.pid, *spirits)
    wait_longer_than_the_limit()
    thaw(subject.pid)
    later = moment() + SILENCE / 3
    wait_until(lambda: moment() > later)
    thaw(*spirits)
    assert_nobody_was_judged(subject, spirits)


BOOTS_OR_LEAVES_SLOWLY = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        while WHAT == "boots" and not os.path.exists("go"):
            time.sleep(0.01)
        while self.tick():
            time.sleep(0.01)
        note("asked")
        while not os.path.exists("go"):
            time.sleep(0.01)
"""


@pytest.mark.parametrize("what", ["boots", "leaves"])
def test_no_limit_of_a_spirit_that_boots_or_leaves_runs_while_the_ghost_is_asleep(stage: Stage, what: str) -> None:
    body = f"WHAT = {what!r}\n{BOOTS_OR_LEAVES_SLOWLY}"
    subject = stage.run(body, whole=False, boot_timeout=SILENCE, graceful_timeout=SILENCE)
    subject.wait_notes("begin", 2)
    if what == "leaves":
        subject.wait_log("Pool is whole")
        subject.send(signal.SIGQUIT)
        subject.wait_notes("asked", 2)
    spirits = subject.spirits()
    freeze(subject.pid, *spirits)
    wait_longer_than_the_limit()
    thaw(subject.pid, *spirits)
    later = moment() + SILENCE / 4
    wait_until(lambda: moment() > later)
    (stage.place / "go").touch()
    assert (subject.quit() if what == "boots" else subject.wait_end()) == 0
    assert not subject.logged("immediately|not ready"), subject.report()


SLOW_HOOK = """\
class Subject(Prefork):
    def spawn(self, pid):
        if os.path.exists("go"):
            time.sleep(1.6)
            note("slept")

""" + WORK.partition("\n")[2]


def test_a_hook_that_takes_longer_than_the_limit_makes_nobody_silent(stage: Stage) -> None:
    subject = stage.run(SLOW_HOOK, **LIMITS)
    (stage.place / "go").touch()
    victim, *_ = subject.spirits()
    os.kill(victim, signal.SIGKILL)
    subject.wait_notes("slept")
    spirits = subject.wait_spirits(2, without={victim})
    assert_nobody_was_judged(subject, spirits)


SCRIBBLES = """\
import inspect, random

class Subject(Prefork):
    def spirit(self):
        note("begin", self.serial)
        while self.tick():
            if self.seat == 0 and os.path.exists("go"):
                words, chance = self._context.page.words, random.Random(SEED)
                ring = inspect.getclosurevars(self._context._say).nonlocals["ring"]
                until = time.monotonic() + 1.5
                while time.monotonic() < until:
                    for at in range(len(words)):
                        words[at] = chance.getrandbits(64)
                    ring()  # "look!"
                note("scribbled")
                return
            time.sleep(0.01)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_spirit_that_writes_anything_over_its_page_harms_nobody_but_itself(stage: Stage, seed: int) -> None:
    subject = stage.run(f"SEED = {seed}\n{SCRIBBLES}", spirits=3, graceful_timeout=1.0, **LIMITS)
    first = {note.more[0]: note.pid for note in subject.wait_notes("begin", 3)}
    (stage.place / "go").touch()
    subject.wait_log(f"Spirit {first['1']} stopped")
    (stage.place / "go").unlink()
    until = moment() + 0.5
    wait_until(lambda: moment() > until)
    assert subject.is_running()
    assert {first["2"], first["3"]} <= subject.spirits(), subject.report()
    assert not subject.logged("Traceback|no heartbeat.*seat [12]"), subject.report()
    subject.wait_spirits(3)
    assert subject.quit() == 0
