"""What a manager does, from a point where it is held to one where it is done: the scenarios of the sweep."""

import os
import signal
import sys
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
import socket
import ghostd.daemon.detach as door

if os.environ.pop("ACTIVATED", ""):
    kept = socket.create_server(("127.0.0.1", 0)).detach()
    if kept != 3:
        os.dup2(kept, 3)
        os.close(kept)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}

detach = door.detach

def held(**how):
    side = detach(**how)
    if isinstance(side, door.Reporter):
        note("detached")
        os.kill(os.getpid(), signal.SIGSTOP)
    return side

if os.environ.get("STOP_DETACHED"):
    door.detach = held

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


LISTEN: Final = ("127.0.0.1:0", "unix:x.sock")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that a manager does, from a point where it is held to one where it is done."""

    name: str
    act: Callable[[Subject], None]
    is_done: Callable[[Subject], bool]
    ends: bool = False
    from_start: bool = False
    numbers: tuple[int, ...] = (2,)  # of spirits, when all is done or was given up
    listen: tuple[str, ...] = ()
    is_daemon: bool = False


class Daemon(Subject):
    """A manager that its starter waits for; how it ended before it was up, its starter alone can tell."""

    def __init__(self, stage: Stage, pid: int, starter: int) -> None:
        super().__init__(stage, pid)
        self._starter = starter

    def wait_end(self, timeout: float = 15.0) -> int:
        wait_until(lambda: not self.is_running(), timeout, "the end of the daemon")
        told = self._stage.wait_code(self._starter, timeout)
        try:
            code = self._stage.wait_code(self.pid, 2.0) if told == 0 else told
        except ChildProcessError:
            code = told
        self._stage.assert_nothing_is_left()
        return code


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
        Scenario("start", _send(signal.SIGCONT), _logged("Pool is whole"), from_start=True, is_daemon=True),
        Scenario("respawn", kill_one, lambda s: len(s.notes("begin")) >= 3 and is_whole(s)),
        Scenario("reload", _send(signal.SIGHUP), _logged(r"\] Reloaded")),
        Scenario("scale", _send(signal.SIGTTIN), lambda s: len(s.spirits()) == 3, numbers=(2, 3)),
        Scenario("rotate", _rotate, _logged("Log reopened")),
        Scenario("stop", _send(signal.SIGQUIT), lambda s: not s.is_running(), ends=True),
        Scenario("listen", _send(signal.SIGCONT), _logged("Pool is whole"), from_start=True, listen=LISTEN),
        Scenario("listen no more", _send(signal.SIGQUIT), lambda s: not s.is_running(), ends=True, listen=LISTEN),
        Scenario("activate", _send(signal.SIGCONT), _logged("Pool is whole"), from_start=True, listen=("systemd",)),
        Scenario("stop at once", _stop_at_once, lambda s: not s.is_running(), ends=True),
    )
}


def set_stage(scenario: Scenario, place: Path) -> tuple[Stage, Subject]:
    """A ghost at the point from which the scenario plays."""
    stage = Stage(place)
    if scenario.is_daemon:
        subject = _start(stage)
    else:
        subject = run(scenario, stage, {"STOP_FIRST": "1"} if scenario.from_start else {})
    if scenario.from_start:
        wait_until(lambda: (stat_of(subject.pid) or "?")[0] == "T", what="the ghost to hold still")
    return stage, subject


def run(scenario: Scenario, stage: Stage, environ: dict[str, str]) -> Subject:
    """The ghost of a scenario in the foreground."""
    options = OPTIONS | ({"listen": list(scenario.listen)} if scenario.listen else {})
    environ = {"GHOSTD_LOGFILE": str(stage.place / "log"), **environ}
    if "systemd" in scenario.listen:
        environ["ACTIVATED"] = "1"
    return stage.run(BODY, whole=False, environ=environ, **options)


def _start(stage: Stage) -> Subject:
    """A daemon that holds still as soon as it has left its starter, which waits for it."""
    script = stage.write(BODY, logfile=True, **OPTIONS)
    words = 'STOP_DETACHED=1 exec "$0" "$1" start >>"$2" 2>&1'  # what no log can say, the starter does
    starter = stage.launch(["sh", "-c", words, sys.executable, str(script), str(stage.place / "log")])
    wait_until(lambda: stage.notes("detached"), what="the daemon to detach")
    return Daemon(stage, stage.notes("detached")[0].pid, starter)
