"""Spirits that die early: before the pool was whole the ghost ends and says why; later it slows down and lives on."""

import os
import re
import signal

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import Stage, moment

pytestmark = pytest.mark.live

DIES_IN_A_LOOP = """\
def die(how):
    match how:
        case "returns": return
        case "raises": raise RuntimeError("no luck")
        case "crashes": os.kill(os.getpid(), signal.SIGSEGV)

class Subject(Prefork):
    def spirit(self):
        note("begin")
        while self.tick():
            if os.path.exists("die"):
                return die(HOW)
            time.sleep(0.01)
"""

WAITS = 12  # of two seats together, until boots are counted


@pytest.mark.parametrize("how", ["returns", "raises", "crashes"])
def test_a_crash_loop_slows_down_is_called_degraded_and_ends_when_its_cause_is_gone(stage: Stage, how: str) -> None:
    body = f"HOW = {how!r}\n{DIES_IN_A_LOOP}"
    subject = stage.run(body, young=1.0, backoff_first=0.1, backoff_most=0.5)
    begun, bytes_before = len(subject.notes("begin")), len(subject.log())
    at = moment()
    (stage.place / "die").touch()
    subject.wait_log(r"Replacement waits.*time in a row, replaced in 0\.\d s", WAITS)
    boots, took = len(subject.notes("begin")) - begun, moment() - at
    # A seat boots at once, after 0.1, 0.2, 0.4 and then every 0.5 s (up to 15 % less).
    assert boots <= 2 * (5 + took / (0.5 * 0.85)), (boots, took)
    # Each death is three lines and, where something was raised, its traceback; no more.
    assert len(subject.log()) - bytes_before < 3000 * (boots + 2)
    subject.wait_log("Pool is degraded")
    assert subject.is_running()
    (stage.place / "die").unlink()
    subject.wait_spirits(2)
    assert subject.quit() == 0


DIES_BEFORE_READY = """\
def divide(by):
    return 1 / by

class Subject(Prefork):
    def spirit(self):
        if self.seat == self.config.policy.spirits - 1:
            note("dies")
            divide(0)
        while self.tick():
            time.sleep(0.01)
"""


def test_a_spirit_that_dies_before_it_is_ready_ends_a_start_with_its_traceback_and_a_code(stage: Stage) -> None:
    stage.write(DIES_BEFORE_READY, logfile=True)
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED
    assert "Spirit stopped too early, shutting down" in answer.err
    assert "in divide" in answer.err and "ZeroDivisionError: division by zero" in answer.err
    assert not answer.out
    assert "in divide" in stage.log(), "the log has it, too"
    stage.assert_nothing_is_left()
    assert not (stage.place / "subject.pid").exists()


def test_a_spirit_that_dies_before_it_is_ready_ends_a_run_with_its_traceback_and_a_code(stage: Stage) -> None:
    subject = stage.run(DIES_BEFORE_READY, whole=False)
    assert subject.wait_end() == ExitCode.BOOT_FAILED
    assert subject.logged(r"\[fatal\] Spirit stopped too early, shutting down")
    assert "ZeroDivisionError: division by zero" in subject.log()


KILLED_BEFORE_READY = """\
class Subject(Prefork):
    def spirit(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_spirit_that_is_killed_before_it_is_ready_ends_the_start_and_the_signal_is_told(stage: Stage) -> None:
    stage.write(KILLED_BEFORE_READY, logfile=True)
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED
    assert "signal 9" in answer.err or "SIGKILL" in answer.err
    assert "SIGKILL" in stage.log()


DIES_LATER = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        if 2 < self.serial <= 5:
            raise ValueError(f"serial {self.serial}")
        while self.tick():
            time.sleep(0.01)
"""


def test_once_the_pool_was_whole_a_spirit_that_dies_before_it_is_ready_is_only_replaced(stage: Stage) -> None:
    subject = stage.run(DIES_LATER)
    os.kill(min(subject.spirits()), signal.SIGKILL)
    subject.wait_notes("begin", 6)
    subject.wait_spirits(2)
    assert len(subject.logged("ValueError: serial")) == 3
    assert subject.logged("the 2. time in a row, replaced in 0.1 s"), "and each waits for longer than the last"
    assert subject.quit() == 0


TICKS_ONCE = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        if self.serial == 1:
            self.tick()
            return  # the manager may read of the tick and of the end at once
        if self.serial == 2:
            time.sleep(0.5)
        while self.tick():
            time.sleep(0.01)
"""


def test_a_spirit_that_has_ticked_did_not_die_before_it_was_ready_even_if_nobody_has_looked_yet(stage: Stage) -> None:
    subject = stage.run(TICKS_ONCE)
    assert len(subject.notes("begin")) == 3
    assert subject.logged("spirit 1.*exit code 0")
    assert subject.quit() == 0


def test_a_short_job_of_a_spirit_that_was_ready_does_not_end_a_pool_that_was_never_whole(stage: Stage) -> None:
    subject = stage.run(TICKS_ONCE, young=1.0, whole=False)
    subject.wait_notes("begin", 3)
    assert subject.quit() == 0


NEVER_READY = """\
class Subject(Prefork):
    def spirit(self):
        note("begin")
        if self.serial in SLOW:
            this_never_ends()
        while self.tick():
            time.sleep(0.01)

def this_never_ends():
    while True:
        time.sleep(0.05)
"""


def test_a_spirit_that_is_never_ready_ends_the_start_after_boot_timeout_and_says_where_it_stood(stage: Stage) -> None:
    # Long enough to be where it never ends, on any machine.
    stage.write(f"SLOW = {{2}}\n{NEVER_READY}", logfile=True, boot_timeout=3.0)
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED
    told = re.search(r"not ready after (\S+) s", answer.err)
    assert told and 3.0 <= float(told[1]) < 20.0, answer.err
    assert "in this_never_ends" in stage.log()
    stage.assert_nothing_is_left()


def test_once_the_pool_was_whole_a_spirit_that_is_never_ready_is_replaced_after_boot_timeout(stage: Stage) -> None:
    subject = stage.run(f"SLOW = {{3}}\n{NEVER_READY}", boot_timeout=2.0, silent_timeout=0.3)
    os.kill(min(subject.spirits()), signal.SIGKILL)
    subject.wait_notes("begin", 4)
    subject.wait_log(r"Spirit \d+ stopped \(spirit 3.*not ready in time")
    (roused,) = subject.logged("is not ready")
    told = re.search(r"\((\S+) seconds\)", roused)
    assert told and float(told[1]) >= 2.0 and "SIGKILL in 0.3 s" in roused
    assert "in this_never_ends" in subject.log()
    subject.wait_spirits(2)
    assert subject.quit() == 0


GIVES_UP = """\
class Subject(Prefork):
    def spirit(self):
        if os.path.exists("die"):
            sys.exit(3)
        while self.tick():
            time.sleep(0.01)
"""


def test_a_pool_that_may_give_up_does_so_with_a_code_when_no_spirit_stays_alive(stage: Stage) -> None:
    subject = stage.run(GIVES_UP, give_up_after=0.5, backoff_first=0.1, backoff_most=0.1)
    (stage.place / "die").touch()
    for pid in subject.spirits():
        os.kill(pid, signal.SIGKILL)
    assert subject.wait_end() == ExitCode.BOOT_FAILED
    assert subject.logged("no spirit stays alive")
