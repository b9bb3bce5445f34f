"""Hooks: in the right process, in the right order, with the right arguments; whatever they do, the pool lives on."""

import os
import signal

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import Stage, Subject, moment
from tests.live.places import switches_of
from tests.support import wait_until

pytestmark = pytest.mark.live

ALL = """\
class Subject(Prefork):
    def again(self, **options):
        note("again", self.is_daemonized, self.is_spirited, os.getcwd())

    def preinit(self):
        note("preinit", self.is_daemonized, self.is_spirited, os.getcwd())

    def init(self):
        note("init", self.is_daemonized, self.is_spirited, os.getcwd())

    def startup(self):
        note("startup", self.is_daemonized, self.is_spirited, os.getcwd())
        super().startup()
        note("over")

    def spawn(self, pid):
        note("spawn", pid)

    def waitup(self):
        note("waitup")

    def heartbeat(self, pid):
        note("heartbeat", pid)

    def reap(self, pid, status=None):
        note("reap", pid, status.code, status.signal)

    def hangup(self):
        note("hangup")

    def finish(self, graceful):
        note("finish", graceful, self.ok)

    def cleanup(self, scope):
        self.log.info("cleanup can still log")
        note("cleanup", scope)

    def spirit(self):
        note("spirit", self.is_daemonized, self.is_spirited, os.getcwd())
        while self.tick():
            time.sleep(0.01)
"""


def order(subject: Subject, *without: str) -> list[str]:
    """The hooks in their order, those of the manager and before."""
    return [note.word for note in subject.notes() if note.word not in {"spirit", *without}]


def test_the_hooks_of_a_daemon_run_in_their_order_and_in_their_processes(stage: Stage) -> None:
    subject = stage.start(ALL)
    subject.wait_notes("heartbeat", 2)
    (preinit,) = subject.notes("preinit")
    spirits = {note.pid for note in subject.notes("spirit")}
    assert subject.quit() == 0
    hooks = order(subject, "waitup", "heartbeat")
    assert hooks == [
        *("again", "preinit"),
        *("init", "startup", "spawn", "spawn"),
        *("finish", "reap", "reap", "over", "cleanup"),
    ]
    starter = {note.pid for note in subject.notes() if note.word in ("again", "preinit")}
    assert starter == {preinit.pid} and preinit.pid != subject.pid
    assert preinit.more == ("False", "False", str(stage.place)), "the caller's directory is still there"
    in_manager = {note.pid for note in subject.notes() if note.word not in ("again", "preinit", "spirit")}
    assert in_manager == {subject.pid}
    assert {note.more for note in subject.notes("init")} == {("True", "False", "/")}
    assert {note.more for note in subject.notes("spirit")} == {("True", "True", "/")}
    assert {int(note.more[0]) for note in subject.notes("spawn")} == spirits
    assert {note.more for note in subject.notes("reap")} == {(str(pid), "0", "None") for pid in spirits}
    assert [note.more for note in subject.notes("finish")] == [("True", "False")]
    assert [note.more for note in subject.notes("cleanup")] == [("0",)]
    assert subject.logged("cleanup can still log")


def test_after_the_death_of_a_spirit_reap_comes_before_the_next_spawn(stage: Stage) -> None:
    subject = stage.run(ALL)
    victim = min(subject.spirits())
    os.kill(victim, signal.SIGKILL)
    subject.wait_notes("spawn", 3)
    hooks = order(subject, "waitup", "heartbeat", "again", "preinit", "init", "startup")
    assert hooks == ["spawn", "spawn", "reap", "spawn"]
    assert subject.notes("reap")[0].more == (str(victim), "None", "9")
    assert subject.quit() == 0


def test_an_own_hangup_takes_the_place_of_the_reload(stage: Stage) -> None:
    subject = stage.run(ALL)
    spirits = subject.spirits()
    subject.send(signal.SIGHUP)
    (note,) = subject.wait_notes("hangup")
    assert note.pid == subject.pid
    assert subject.quit() == 0
    assert not subject.logged("Reload")
    assert {int(note.more[0]) for note in subject.notes("reap")} == spirits


REAPS_BY_PID_ALONE = """\
class Subject(Prefork):
    def reap(self, pid):
        note("reap", pid)

    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""


def test_a_reap_that_takes_the_pid_alone_works_too(stage: Stage) -> None:
    subject = stage.run(REAPS_BY_PID_ALONE)
    victim = min(subject.spirits())
    os.kill(victim, signal.SIGKILL)
    assert [note.more for note in subject.wait_notes("reap")] == [(str(victim),)]
    assert not subject.logged("Hook")
    assert subject.quit() == 0


# ── heartbeat and waitup ──
QUIET = "    def heartbeat(self, pid): note('heartbeat', pid)\n    def waitup(self): note('waitup')\n"
TICKS = "    def spirit(self):\n        while self.tick():\n            time.sleep(0.01)\n"


def test_heartbeat_comes_at_most_once_an_interval_and_spirit_and_waitup_as_often(stage: Stage) -> None:
    begun = moment()
    subject = stage.run(f"class Subject(Prefork):\n{QUIET}{TICKS}", heartbeat_interval=0.2)
    subject.wait_notes("heartbeat", 2 * 10)
    for pid in subject.spirits():
        beats = [note.at for note in subject.notes("heartbeat") if note.more == (str(pid),)]
        assert 5 <= len(beats) <= (moment() - begun) / 0.2 + 1, beats
    assert len(subject.notes("waitup")) >= 5
    assert subject.quit() == 0


def test_a_manager_whose_heartbeat_and_waitup_are_not_overridden_does_not_wake_for_them(stage: Stage) -> None:
    subject = stage.run(f"class Subject(Prefork):\n{TICKS}", heartbeat_interval=0.05)
    before = switches_of(subject.pid)
    until = moment() + 1.0  # twenty intervals
    wait_until(lambda: moment() > until)
    assert switches_of(subject.pid) - before <= 2
    assert subject.quit() == 0


def test_heartbeat_is_not_called_for_a_spirit_that_is_silent(stage: Stage) -> None:
    body = f"class Subject(Prefork):\n{QUIET}{TICKS}"
    subject = stage.run(body, spirits=2)
    first, second = subject.spirits()
    os.kill(first, signal.SIGSTOP)
    beats = len(subject.notes("heartbeat"))
    subject.wait_notes("heartbeat", beats + 8)
    late = [note.more[0] for note in subject.notes("heartbeat")[beats + 2 :]]
    assert set(late) == {str(second)}
    os.kill(first, signal.SIGCONT)
    assert subject.quit() == 0


# ── hooks that fail ──
ALL_RAISE = """\
class Subject(Prefork):
    def fail(self, name):
        note("hook", name)
        if name in WHERE:
            fail()

    def spawn(self, pid): self.fail("spawn")
    def waitup(self): self.fail("waitup")
    def heartbeat(self, pid): self.fail("heartbeat")
    def reap(self, pid): self.fail("reap")
    def hangup(self): self.fail("hangup")
    def finish(self, graceful): self.fail("finish")
    def cleanup(self, scope): self.fail("cleanup")

    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)

def fail():
    HOW
"""

KINDS = {
    "Exception": "raise Exception('no luck')",
    "SystemExit": "sys.exit(5)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "MemoryError": "bytearray(2 ** 62)",
    "RecursionError": "fail()",
}
HOOKS = ("spawn", "waitup", "heartbeat", "reap", "hangup", "finish", "cleanup")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_hook_raises_is_logged_with_its_traceback_and_the_pool_lives_on(stage: Stage, kind: str) -> None:
    subject = stage.run(f"WHERE = {HOOKS}\n{ALL_RAISE.replace('HOW', KINDS[kind])}")
    subject.wait_log("Hook heartbeat failed")
    os.kill(min(subject.spirits()), signal.SIGKILL)
    subject.wait_notes("begin", 3)
    subject.send(signal.SIGHUP)
    subject.wait_log("Hook hangup failed")
    subject.wait_spirits(2)
    assert subject.quit() == 0
    for hook in HOOKS:
        assert subject.logged(f"Hook {hook} failed"), hook
    assert len(subject.logged(rf"\b{kind}\b")) >= len(HOOKS)
    assert subject.logged("in fail"), "the traceback says where"
    assert not (stage.place / "subject.pid").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hook", ["init", "startup"])
def test_whatever_init_or_startup_raises_ends_the_ghost_with_a_reason_and_leaves_nothing(
    stage: Stage, hook: str, kind: str
) -> None:
    body = f"def fail():\n    {KINDS[kind]}\n\nclass Subject(Prefork):\n    def {hook}(self):\n        fail()\n{TICKS}"
    stage.write(body + "    def cleanup(self, scope):\n        note('cleanup', scope)\n", logfile=True)
    answer = stage.command("start")
    assert answer.code == ExitCode.BOOT_FAILED, answer
    assert kind in answer.err
    assert kind in stage.log() and "in fail" in stage.log()
    assert [note.word for note in stage.notes()] == ["cleanup"]
    stage.assert_nothing_is_left()
    assert not (stage.place / "subject.pid").exists()


@pytest.mark.parametrize(("how", "code"), [("", 0), ("0", 0), ("5", 5), ("'words'", 1)])
def test_a_startup_that_exits_ends_a_run_with_its_own_code_in_order(stage: Stage, how: str, code: int) -> None:
    body = f"class Subject(Ghost):\n    def startup(self):\n        sys.exit({how})\n"
    subject = stage.run(body + "    def cleanup(self, scope):\n        note('cleanup', scope)\n", whole=False)
    assert subject.wait_end() == code
    assert [note.word for note in subject.notes()] == ["cleanup"]
    assert bool(subject.logged("SystemExit")) == bool(code)
    assert not (stage.place / "subject.pid").exists()


SLOW = """\
class Subject(Prefork):
    def spawn(self, pid): time.sleep(0.2)
    def reap(self, pid): time.sleep(0.2)
    def heartbeat(self, pid): time.sleep(0.2)
    def waitup(self): time.sleep(0.2)
    def finish(self, graceful): time.sleep(0.2)
    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
"""


def test_slow_hooks_make_a_slow_manager_but_a_whole_pool_and_no_false_judgement(stage: Stage) -> None:
    subject = stage.run(SLOW, heartbeat_interval=0.1, heartbeat_timeout=0.7)
    victim = min(subject.spirits())
    os.kill(victim, signal.SIGKILL)
    subject.wait_notes("begin", 3)
    spirits = subject.wait_spirits(2)
    until = moment() + 1.0
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits
    assert not subject.logged("no heartbeat")
    assert subject.quit() == 0


# ── hooks that start processes of their own ──
RUNS_COMMANDS = """\
import subprocess

class Subject(Prefork):
    use_pidfd = PIDFD

    def reap(self, pid, status=None):
        command = "kill -9 $$" if self.serial_of(pid) % 3 == 0 else f"exit {self.serial_of(pid) % 3 + 6}"
        done = subprocess.run(["sh", "-c", command])
        note("status", self.serial_of(pid) % 3, done.returncode)
        note("reap", pid)

    def serial_of(self, pid):
        return pid

    def spirit(self):
        note("begin")
        while self.tick():
            time.sleep(0.01)
"""


@pytest.mark.parametrize("use_pidfd", [True, False], ids=["pidfd", "no pidfd"])
def test_a_command_that_a_hook_runs_in_a_storm_of_deaths_has_its_own_exit_status(stage: Stage, use_pidfd: bool) -> None:
    subject = stage.run(RUNS_COMMANDS.replace("PIDFD", str(use_pidfd)), spirits=8)
    victims: set[int] = set()
    for wave in range(1, 5):
        fresh = {note.pid for note in subject.wait_notes("begin", 8 * wave)} - victims
        for pid in fresh:
            os.kill(pid, signal.SIGKILL)
        victims |= fresh
    statuses = {note.more for note in subject.wait_notes("status", 32)}
    assert statuses <= {("0", "-9"), ("1", "7"), ("2", "8")}, statuses
    assert {int(note.more[0]) for note in subject.wait_notes("reap", 32)} == victims, "and no foreign pid"
    assert not subject.zombies()
    assert subject.quit() == 0
