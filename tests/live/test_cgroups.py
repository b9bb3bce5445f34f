"""Control groups around a ghost: frozen, starved of the processor, out of processes. Nobody is killed by mistake.

A group of the test's own is made where this machine lets root make one, in version 1 or 2, and removed at the end.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.live.groups import Group, home_of
from tests.live.harness import AT_ONCE, Stage, moment
from tests.support import is_alive, needs_root, wait_gone, wait_until

pytestmark = [pytest.mark.live, pytest.mark.root, needs_root]

LONG: Final = bool(os.environ.get("GHOSTD_LONG"))
SILENCE: Final = 1.2
LIMITS: Final[dict[str, Any]] = {"heartbeat_interval": 0.2, "heartbeat_timeout": 1.0, "silent_timeout": 0.6}


def _group(controller: str) -> Iterator[Group]:
    home = home_of(controller)
    if home is None:
        pytest.skip(f"no control group with {controller} can be made here")
    made = Group(home / f"ghostd-test-{os.getpid()}")
    yield made
    made.close()


@pytest.fixture
def freezer() -> Iterator[Group]:
    yield from _group("freezer")


@pytest.fixture
def processor() -> Iterator[Group]:
    yield from _group("cpu")


@pytest.fixture
def processes() -> Iterator[Group]:
    yield from _group("pids")


def wait(seconds: float) -> None:
    until = moment() + seconds
    wait_until(lambda: moment() > until, timeout=seconds + 10)


# ── frozen ──
@pytest.mark.parametrize("times", [1, 3])
def test_a_ghost_whose_control_group_was_frozen_for_longer_than_the_limit_kills_nobody(
    stage: Stage, freezer: Group, times: int
) -> None:
    subject = stage.run(prefix=freezer.prefix, **LIMITS)
    spirits = subject.spirits()
    for _ in range(times):
        freezer.freeze()
        wait(SILENCE * 1.6)
        freezer.thaw()
        wait(0.3)
    wait(SILENCE)
    assert subject.spirits() == spirits, subject.report()
    assert not subject.logged("no heartbeat|immediately"), subject.report()
    os.kill(min(spirits), signal.SIGSTOP)
    subject.wait_log(f"Spirit {min(spirits)} has no heartbeat")
    assert subject.quit() == 0


def test_a_spirit_that_outlives_sigkill_is_named_and_replaced_and_reaped_when_it_dies_at_last(
    stage: Stage, freezer: Group
) -> None:
    if not (freezer.path / "freezer.state").exists():
        pytest.skip("a process that is frozen in version 2 dies of SIGKILL")
    subject = stage.run(kill_timeout=0.5, **LIMITS)
    victim = min(subject.spirits())
    freezer.take(victim)
    freezer.freeze()
    (line,) = subject.wait_log(f"Spirit {victim} cannot be killed")
    assert "going on without it" in line
    assert is_alive(victim)
    wait_until(lambda: len(subject.spirits() - {victim}) == 2, what="a replacement")
    freezer.thaw()
    wait_gone(victim)
    wait_until(lambda: not subject.zombies(), what="that it is reaped")
    assert subject.quit() == 0


def test_a_stop_is_bounded_although_a_spirit_cannot_be_killed_and_its_code_says_so(
    stage: Stage, freezer: Group
) -> None:
    if not (freezer.path / "freezer.state").exists():
        pytest.skip("a process that is frozen in version 2 dies of SIGKILL")
    subject = stage.run(kill_timeout=0.5, graceful_timeout=1.0)
    victim = min(subject.spirits())
    freezer.take(victim)
    freezer.freeze()
    begun = moment()
    subject.send(signal.SIGQUIT)
    wait_until(lambda: not subject.is_running(), what="the end of the manager")
    assert moment() - begun < AT_ONCE
    assert subject.logged(f"Spirit {victim} cannot be killed")
    freezer.thaw()
    assert subject.wait_end() != 0


# ── starved ──
HUNGRY: Final = """\
class Subject(Prefork):
    def spirit(self):
        while self.tick():
            until = time.process_time() + 0.003
            while time.process_time() < until:
                pass
        note("leave")
"""


@pytest.mark.timeout(240 if LONG else 120)
def test_a_ghost_that_gets_a_twentieth_of_a_processor_finds_nobody_silent(stage: Stage, processor: Group) -> None:
    limits: dict[str, Any] = (
        {"heartbeat_interval": 5.0, "heartbeat_timeout": 50.0} if LONG else {"heartbeat_timeout": 3.0}
    )
    subject = stage.run(HUNGRY, prefix=processor.prefix, spirits=4, **limits)
    spirits = subject.spirits()
    processor.allow_processor(0.05)
    before = processor.throttled()
    wait(120.0 if LONG else 8.0)
    assert processor.throttled() - before > 40, "it was held back all the time"
    assert subject.spirits() == spirits, subject.report()
    assert not subject.logged("no heartbeat|immediately"), subject.report()
    processor.allow_processor(1.0)
    assert subject.quit() == 0
    assert len(subject.notes("leave")) == 4


# ── out of processes ──
def test_a_limit_of_processes_holds_replacements_back_until_it_is_raised(stage: Stage, processes: Group) -> None:
    subject = stage.run(prefix=processes.prefix, spirits=4)
    survivors = sorted(subject.spirits())[2:]
    processes.allow_processes(3)  # the manager and two
    for victim in subject.spirits() - set(survivors):
        os.kill(victim, signal.SIGKILL)
    subject.wait_log("could not be made: .*EAGAIN")
    assert set(survivors) <= subject.spirits()
    processes.allow_processes(100)
    subject.wait_spirits(4)
    assert set(survivors) <= subject.spirits()
    assert subject.quit() == 0
