"""Starts: what the starter hears, and a stop that comes at any moment of one: nothing is left, the code is honest."""

import os
import re
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import WORK, Stage, Subject
from tests.support import needs_tool, wait_until

pytestmark = pytest.mark.live

AT_ONCE = 4  # ghosts that are started beside each other

# ── a ghost without a pool ──
PLAIN = """\
class Subject(Ghost):
    def startup(self):
        note("startup")
        while self.ok:
            time.sleep(0.01)
        note("over")

    def hangup(self):
        note("hangup")

    def cleanup(self, scope):
        note("cleanup", scope)
"""


def test_a_ghost_without_a_pool_is_up_when_its_startup_begins(stage: Stage) -> None:
    subject = stage.start(PLAIN, start_timeout=20.0)
    subject.wait_notes("startup")
    assert stage.command("status").out == f"Running {subject.pid}"
    assert stage.command("reload").out == f"Reloading {subject.pid}"
    subject.wait_notes("hangup")
    assert stage.command("stop").out == f"Stopped {subject.pid}"
    assert subject.wait_end() == 0
    assert [note.word for note in subject.notes()] == ["startup", "hangup", "over", "cleanup"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_ghost_without_a_pool_ends_in_order_on_each_signal_that_stops(stage: Stage, signum: int) -> None:
    subject = stage.run(PLAIN, whole=False)
    subject.wait_notes("startup")
    subject.send(signum)
    assert subject.wait_end() == 0
    scope = "0" if signum == signal.SIGQUIT else "1"
    assert [note.more for note in subject.notes("cleanup")] == [(scope,)]


# ── what the starter hears ──
FAILS_ONCE = """\
class Subject(Prefork):
    def init(self):
        if not os.path.exists(PLACE + "/failed"):
            open(PLACE + "/failed", "w").close()
            raise RuntimeError("the first time")

    def cleanup(self, scope):
        time.sleep(0.3)

    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""


def test_whoever_hears_that_a_start_failed_can_start_again_at_once(stage: Stage) -> None:
    stage.write(f"PLACE = {str(stage.place)!r}\n{FAILS_ONCE}", logfile=True)
    answer = stage.command("start")
    assert (answer.code, answer.out) == (ExitCode.BOOT_FAILED, "")
    assert "RuntimeError: the first time" in answer.err
    answer = stage.command("start")
    assert (answer.code, answer.out[:8]) == (0, "Running "), "and not: already running"
    assert Subject(stage, stage.pid_of(answer)).quit() == 0


SLOW_TO_BOOT = """\
class Subject(Prefork):
    def spirit(self):
        time.sleep(0.5)
        note("ready")
        while self.tick():
            time.sleep(0.01)
"""


def test_a_start_returns_when_all_are_ready_and_not_before(stage: Stage) -> None:
    subject = stage.start(SLOW_TO_BOOT, spirits=3)
    assert len(subject.notes("ready")) == 3
    assert subject.quit() == 0


def test_a_start_that_takes_too_long_says_so_with_its_own_code_and_the_daemon_goes_on(stage: Stage) -> None:
    stage.write(SLOW_TO_BOOT, logfile=True, start_timeout=0.4)
    answer = stage.command("start")
    assert answer.code == ExitCode.TIMED_OUT
    assert "was not ready within 0.4 s and goes on" in answer.err
    wait_until(lambda: "Pool is whole" in stage.log())
    assert stage.command("stop").code == 0


# ── a stop at every moment ──
def every_call(stage: Stage) -> list[tuple[str, int]]:
    """Each system call of a run, from the opening of its script to the whole pool: its name, and which one of these."""
    trace = stage.place / "trace"
    subject = stage.run(prefix=["strace", "-D", "-qq", "-s", "256", "-o", str(trace)])
    assert subject.quit() == 0
    calls: list[tuple[str, int]] = []
    seen: Counter[str] = Counter()
    begun = False
    for line in trace.read_text(errors="replace").splitlines():
        name = re.match(r"([a-z0-9_]+)\(", line)
        if name is None:
            continue  # a signal, or the second half of a call
        seen[name[1]] += 1
        begun = begun or (name[1] == "openat" and "subject.py" in line)
        if begun:
            calls.append((name[1], seen[name[1]]))
        if "Pool is whole" in line:
            return calls
    raise AssertionError("the trace does not end in a whole pool")


def stop_at(place: Path, signal_name: str, call: str, count: int) -> tuple[Stage, Subject]:
    """Begin a run that is sent the signal at one system call, by the kernel and not by luck."""
    place.mkdir()
    stage = Stage(place)
    inject = f"inject={call}:signal={signal_name}:when={count}"
    prefix = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    return stage, stage.run(whole=False, prefix=prefix)


def end_of(stage: Stage, subject: Subject, signum: int) -> int:
    """The exit code. A run in which the call did not come as often as in the recorded one is sent the signal late."""
    wait_until(lambda: not subject.is_running() or "Pool is whole" in subject.log())
    if subject.is_running():
        subject.send(signum)
    return stage.wait_code(subject.pid)


@needs_tool("strace")
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["SIGQUIT", "SIGTERM"])
def test_a_stop_at_any_moment_of_the_start_leaves_nothing_and_an_honest_code(stage: Stage, name: str) -> None:
    calls = every_call(stage)
    assert len(calls) > 200, "a start takes many calls"
    chosen = calls[3 :: max(len(calls) // 36, 1)]
    for begin in range(0, len(chosen), AT_ONCE):
        some = chosen[begin : begin + AT_ONCE]
        runs = [stop_at(stage.place / f"{call}-{count}", name, call, count) for call, count in some]
        for (one, subject), (call, count) in zip(runs, some, strict=True):
            code = end_of(one, subject, signal.Signals[name])
            told = f"{name} at {call} number {count}: {code}\n{subject.report()}"
            # Before the first line of the log nobody has promised to catch a signal yet; from there on it is an order.
            heard = "Ghost process" in subject.log()
            # A late signal may have come after the other one, and after all was done.
            is_late = code == -signal.Signals[name] and bool(subject.logged(r"Ghost process \d+ stopped"))
            assert code == 0 or is_late if heard else code in (0, -signal.Signals[name]), told
            assert not (one.place / "subject.pid").exists(), told
            assert not subject.logged("Traceback|killed by SIGQUIT|killed by SIGTERM"), told
        runs[0][0].assert_nothing_is_left()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_a_run_before_it_is_a_ghost_leaves_nothing_behind(stage: Stage, signum: int) -> None:
    body = """\
class Subject(Prefork):
    def preinit(self):
        note("preinit")
        time.sleep(60)

    def spirit(self):
        note("never")
"""
    subject = stage.run(body, whole=False)
    subject.wait_notes("preinit")
    assert (stage.place / "subject.pid.lock").exists()
    subject.send(signum)
    assert stage.wait_code(subject.pid) == -signum, "as it would have ended by itself"
    assert not list(stage.place.glob("subject.pid*"))


# Sends the signal at a call of a Python function in the daemon, counted from the moment that it has detached.
SENDS_ITSELF = """\
import ghostd.daemon.detach as door

detach = door.detach

def arm(**how):
    side = detach(**how)
    if isinstance(side, door.Reporter):
        daemon, left = os.getpid(), COUNT
        def count(frame, event, arg):
            nonlocal left
            if event == "call" and os.getpid() == daemon:
                left -= 1
                if left == 0:
                    os.kill(daemon, SIGNUM)
        sys.setprofile(count)
    return side

door.detach = arm
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("signum", [signal.SIGQUIT, signal.SIGTERM])
def test_a_stop_at_any_moment_of_a_daemons_start_is_told_to_its_starter(stage: Stage, signum: int) -> None:
    for count in range(1, 1500, 125):
        stage.write(f"COUNT, SIGNUM = {count}, {signum:d}\n{SENDS_ITSELF}\n{WORK}", logfile=True)
        (stage.place / "log").unlink(missing_ok=True)
        answer = stage.command("start")
        if answer.code:
            asked = "it was asked to stop before it was up" in answer.err
            killed = f"was ended by {signal.Signals(signum).name} before it was ready" in answer.err
            assert asked or (killed and "Ghost process" not in stage.log()), (count, answer, stage.log())
            assert not answer.out
        else:  # it came too late to stop the start
            with suppress(ProcessLookupError):
                os.kill(stage.pid_of(answer), signum)
        stage.assert_nothing_is_left()
        assert not (stage.place / "subject.pid").exists(), count
