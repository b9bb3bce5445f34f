"""What the ancestor got wrong and no other file here is about: restarts, healthy, finish, two commands at once.

The list of all its defects, each with what proves that it is mended, is docs/review/seed.md.
"""

import os
import signal
import subprocess
import sys
from itertools import combinations_with_replacement

import pytest

from tests.live.harness import WORK, Stage, Subject, moment, own_environ
from tests.live.places import switches_of
from tests.support import wait_until

pytestmark = pytest.mark.live


def wait(seconds: float) -> None:
    until = moment() + seconds
    wait_until(lambda: moment() > until, timeout=seconds + 10)


def test_a_restart_is_back_to_back(stage: Stage) -> None:
    begun = moment()
    old = stage.start()
    start = moment() - begun  # what this machine takes for more than what lies between the two
    answer = stage.command("restart")
    assert (answer.code, answer.out) == (0, "Restart successful"), answer
    stage.wait_code(old.pid)
    last = max(note.at for note in stage.notes("leave"))
    first = min(note.at for note in stage.notes("ready") if note.at > last)
    assert first - last < start + 1.0, "the ancestor was without any spirit for two seconds"
    fresh = Subject(stage, int((stage.place / "subject.pid").read_text().split()[0]))
    assert fresh.quit() == 0


COUNTS_THE_HEALTHY = """\
class Subject(Prefork):
    def waitup(self):
        note("healthy", self.healthy)

    def spirit(self):
        while os.path.exists("hold"):
            time.sleep(0.01)
        note("ready")
        while self.tick():
            time.sleep(0.01)
        while os.path.exists("hold"):
            time.sleep(0.01)
"""


def test_healthy_counts_neither_the_hung_nor_the_leaving_nor_the_booting(stage: Stage) -> None:
    subject = stage.run(COUNTS_THE_HEALTHY, heartbeat_timeout=0.8, silent_timeout=20.0, graceful_timeout=20.0)
    wait_until(lambda: subject.notes("healthy")[-1].more == ("2",))
    first, second = sorted(subject.spirits())
    (stage.place / "hold").touch()
    os.kill(first, signal.SIGSTOP)
    subject.wait_log(f"Spirit {first} has no heartbeat")
    wait_until(lambda: subject.notes("healthy")[-1].more == ("1",), what="the hung one not to count")
    os.kill(second, signal.SIGQUIT)
    wait_until(lambda: subject.notes("healthy")[-1].more == ("0",), what="the leaving one not to count")
    assert {first, second} < subject.spirits(), "both still live, and others boot"
    (stage.place / "hold").unlink()
    wait_until(lambda: subject.notes("healthy")[-1].more == ("2",), what="the new ones to count")
    assert subject.quit() == 0


LINGERS = """\
class Subject(Prefork):
    def finish(self, graceful):
        note("finish", graceful)

    def cleanup(self, scope):
        note("cleanup", scope)
        self.log.warn("said in cleanup")

    def spirit(self):
        self.ready()
        while True:
            self.tick()
            time.sleep(0.01)
"""


def test_finish_is_called_once_and_once_more_when_graceful_becomes_immediate(stage: Stage) -> None:
    subject = stage.run(LINGERS)
    for _ in range(5):
        subject.send(signal.SIGQUIT)
    subject.wait_notes("finish")
    for _ in range(5):
        subject.send(signal.SIGTERM)
    assert subject.wait_end() == 0
    assert [note.more for note in stage.notes("finish")] == [("True",), ("False",)]
    assert [note.more for note in stage.notes("cleanup")] == [("1",)]
    assert subject.logged("said in cleanup")


ENDS_WITH_WHAT_CTRL_SAYS = (
    WORK
    + """

ghost = Subject(**OPTIONS)
if sys.argv[1:] == ["reload"]:
    sys.exit(ghost.ctrl("reload", 0))
if sys.argv[1:] == ["usr1"]:
    sys.exit(ghost.ctrl(["reload"], signal.SIGUSR1))
"""
)


def test_the_signal_of_reload_can_be_another_one_and_none_switches_it_off(stage: Stage) -> None:
    subject = stage.start(ENDS_WITH_WHAT_CTRL_SAYS)
    answer = stage.command("reload")
    assert (answer.code, answer.out, answer.err) == (64, "", "subject: reload is switched off: its signal is 0")
    answer = stage.command("usr1")
    assert (answer.code, answer.out) == (0, f"Reloading {subject.pid}")
    subject.wait_log("Log reopened")
    assert not subject.logged("Reloading:"), "nothing else was sent"
    assert subject.quit() == 0


TICKS_WITHOUT_END = """\
class Subject(Prefork):
    def spirit(self):
        self.ready()
        if self.seat == 0:
            while self.tick():
                pass
        while self.tick():
            time.sleep(0.2)
"""


def test_the_manager_sleeps_however_many_spirits_tick_however_often(stage: Stage) -> None:
    slept: list[int] = []
    for spirits in (2, 40):
        subject = stage.run(TICKS_WITHOUT_END, whole=False, spirits=spirits, heartbeat_interval=5.0)
        subject.wait_log("Pool is whole", len(slept) + 1)
        before = switches_of(subject.pid)
        wait(2.0)
        slept.append(switches_of(subject.pid) - before)
        assert subject.quit() == 0
    assert all(count <= 2 for count in slept), f"woke {slept} times in two seconds"


# ── two commands at once ──
COMMANDS = ("start", "stop", "restart", "reload", "status")
MAY_END_WITH = {"status": {0, 1, 3}}
# A stop goes before everything, also before the ghost that the other command is just starting, which says so.
STARTS, STOPS = ("start", "restart"), ("stop", "restart")
OVERTAKEN = (1, "", "subject: it was asked to stop before it was up\n")


@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(COMMANDS, 2)))
def test_of_two_commands_at_once_both_are_carried_out_or_a_stop_goes_first_and_that_is_said(
    stage: Stage, first: str, second: str
) -> None:
    subject = stage.start()
    words = [sys.executable, str(stage.place / "subject.py")]
    both = [
        subprocess.Popen(
            [*words, word],
            cwd=stage.place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=own_environ(),
        )
        for word in (first, second)
    ]
    overtaken = False
    for word, other, one in zip((first, second), (second, first), both, strict=True):
        out, err = one.communicate(timeout=30)
        if word in STARTS and other in STOPS and (one.returncode, out, err) == OVERTAKEN:
            overtaken = True
            continue
        assert one.returncode in MAY_END_WITH.get(word, {0}), (word, out, err, subject.log())
        assert err == ""
    last = stage.command("status")
    pid = int(last.out.split()[-1]) if last.code == 0 else 0
    assert not (overtaken and "stop" in (first, second) and pid), "the stop that went first has left nothing running"
    assert stage.command("stop").out == (f"Stopped {pid}" if pid else "Not running")
    stage.assert_nothing_is_left()
