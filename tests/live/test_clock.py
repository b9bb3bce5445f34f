"""The wall clock steps, and nothing follows from it: nobody is found silent, everybody who hangs is, and stops end."""

import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import AT_ONCE, WORK, Stage, Subject, moment
from tests.support import needs, wait_until

LIBRARY = next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)

pytestmark = [pytest.mark.live, needs(LIBRARY, "libfaketime (apt-get install faketime)")]

HOUR = 3600
SILENCE = 1.2
LIMITS: dict[str, Any] = {"heartbeat_interval": 0.2, "heartbeat_timeout": 1.0, "silent_timeout": 0.3}


def step(stage: Stage, seconds: int) -> None:
    """Have the wall clock of all processes of the stage differ by so much from now on."""
    fresh = stage.place / "clock.fresh"
    fresh.write_text(f"{seconds:+d}\n")
    fresh.replace(stage.place / "clock")  # at once: nobody reads half of it


# Not time.sleep, which asks for a moment of the monotonic clock: libfaketime has it fail with EINVAL.
NAP = "__import__('select').select([], [], [], 0.01)"


def run(stage: Stage, body: str = WORK, **options: float) -> Subject:
    """Run it on a wall clock of its own."""
    step(stage, 0)
    environ = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(stage.place / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # the kernel does not step that one either
        "TZ": "UTC",
    }
    return stage.run(body.replace("time.sleep(0.01)", NAP), environ=environ, **LIMITS | options)


def last_stamp(subject: Subject) -> datetime:
    """The wall clock's time of the last line of the log."""
    found = re.findall(r"^\[(\S+ \S+)\.\d+\]", subject.log(), re.MULTILINE)
    return datetime.strptime(found[-1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def kill_one(subject: Subject) -> None:
    begun = len(subject.notes("begin"))
    os.kill(min(subject.spirits()), signal.SIGKILL)
    subject.wait_notes("begin", begun + 1)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_step_of_the_wall_clock_kills_nobody_and_hides_nobody(stage: Stage, seconds: int) -> None:
    subject = run(stage)
    spirits = subject.spirits()
    step(stage, seconds)
    until = moment() + SILENCE * 1.5
    wait_until(lambda: moment() > until)
    assert subject.spirits() == spirits, subject.report()
    assert not subject.logged("no heartbeat")

    victim = min(spirits)
    os.kill(victim, signal.SIGSTOP)
    (line,) = subject.wait_log(f"Spirit {victim} has no heartbeat")
    told = re.search(r"\((\S+) seconds\)", line)
    assert told and SILENCE <= float(told[1]) < HOUR / 2, "by the other clock"
    off = (last_stamp(subject) - datetime.now(UTC)).total_seconds()
    assert abs(off - seconds) < 60, "the step was a real one, for the ghost"
    subject.wait_spirits(2, without={victim})
    assert subject.quit() == 0


IGNORES = """\
class Subject(Prefork):
    def spirit(self):
        while True:
            self.tick()
            time.sleep(0.01)
"""


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_step_of_the_wall_clock_during_a_stop_changes_nothing_of_its_bound(stage: Stage, seconds: int) -> None:
    subject = run(stage, IGNORES, graceful_timeout=1.0)
    begun = moment()
    subject.send(signal.SIGQUIT)
    subject.wait_log("gracefully", 2)
    step(stage, seconds)
    assert subject.wait_end() == 0
    assert 0.9 < moment() - begun < AT_ONCE
