"""What a manager does, from a point where it is held to one where it is done: the scenarios of the sweep."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.live.harness import Stage, Subject
from tests.support import stat_of, wait_until

OPTIONS: Final[dict[str, Any]] = {
    "graceful_timeout": 2.0,
    "boot_timeout": 3.0,
    "start_timeout": 4.0,
    "backoff_first": 0.02,
    "backoff_most": 0.1,
}
BODY: Final = """\
class Subject(Prefork):
    def preinit(self):
        if os.environ.get("STOP_FIRST"):
            os.kill(os.getpid(), signal.SIGSTOP)

    def spirit(self):
        note("begin", self.serial)
        self.ready()
        while self.tick():
            time.sleep(0.005)
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that a manager does, from a point where it is held to one where it is done."""

    name: str
    act: Callable[[Subject], None]
    is_done: Callable[[Subject], bool]
    ends: bool = False
    from_start: bool = False
    numbers: tuple[int, ...] = (2,)  # of spirits, when all is done or was given up
    listens: bool = False


def is_whole(subject: Subject) -> bool:
    return len(subject.spirits()) == 2 and not subject.zombies()


def kill_one(subject: Subject) -> None:
    """Kill a spirit, if there is one: a fault may have been quicker."""
    with suppress(ValueError, ProcessLookupError):
        os.kill(min(subject.spirits()), signal.SIGKILL)


def _rotate(subject: Subject) -> None:
    place = subject._stage.place
    (place / "log").rename(place / "log.1")
    subject.send(signal.SIGUSR1)


def _stop_at_once(subject: Subject) -> None:
    subject.send(signal.SIGINT)
    subject.send(signal.SIGINT)


def _send(number: int) -> Callable[[Subject], None]:
    return lambda subject: subject.send(number)


def _logged(pattern: str) -> Callable[[Subject], bool]:
    return lambda subject: bool(subject.logged(pattern)) and is_whole(subject)


SCENARIOS: Final = {
    one.name: one
    for one in (
        Scenario("run", _send(signal.SIGCONT), _logged("Pool is whole"), from_start=True),
        Scenario("respawn", kill_one, lambda s: len(s.notes("begin")) >= 3 and is_whole(s)),
        Scenario("reload", _send(signal.SIGHUP), _logged(r"\] Reloaded")),
        Scenario("scale", _send(signal.SIGTTIN), lambda s: len(s.spirits()) == 3, numbers=(2, 3)),
        Scenario("rotate", _rotate, _logged("Log reopened")),
        Scenario("stop", _send(signal.SIGQUIT), lambda s: not s.is_running(), ends=True),
        Scenario("listen", _send(signal.SIGCONT), _logged("Pool is whole"), from_start=True, listens=True),
        Scenario("listen no more", _send(signal.SIGQUIT), lambda s: not s.is_running(), ends=True, listens=True),
        Scenario("stop at once", _stop_at_once, lambda s: not s.is_running(), ends=True),
    )
}


def set_stage(scenario: Scenario, place: Path) -> tuple[Stage, Subject]:
    """A ghost at the point from which the scenario plays."""
    stage = Stage(place)
    subject = run(stage, {"STOP_FIRST": "1"} if scenario.from_start else {}, listens=scenario.listens)
    if scenario.from_start:
        wait_until(lambda: (stat_of(subject.pid) or "?")[0] == "T", what="the ghost to hold still")
    return stage, subject


def run(stage: Stage, environ: dict[str, str], *, listens: bool = False) -> Subject:
    options = OPTIONS | ({"listen": ["127.0.0.1:0", "unix:x.sock"]} if listens else {})
    return stage.run(BODY, whole=False, environ={"GHOSTD_LOGFILE": str(stage.place / "log"), **environ}, **options)
