"""Where a soak takes place: its disk, its network, its control groups, and its course from the start to the stop.

Rule: runs as the first process of namespaces of its own, so that whatever it makes is gone when it ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.soak.clients import Crowd
from tests.faults.soak.ghosts import ROOT, Ghost, Mill, Web
from tests.faults.soak.history import Begun, History, Left, Served
from tests.faults.soak.kinds import GHOSTS, MILL, WEB
from tests.faults.soak.nemesis import Nemesis
from tests.faults.soak.strikes import Field, set_clock
from tests.live.groups import Group, home_of
from tests.support import children_of, reap_zombies, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

DISK: Final = "32m"
CONTROLLERS: Final = {
    "freezer": "freezer",
    "cpu": "processor quota",
    "memory": "memory limit",
    "pids": "process limit",
}
KINDS_LEAST: Final = 10  # a slow machine goes on until so many have been struck,
SLOW: Final = 3.0  # for so many times its minutes more at most
LIBRARY: Final = next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)
JOBS_LIMIT: Final = 60.0  # seconds in which what was given must be done, once nobody strikes any more


def soak(minutes: float, seed: int, path: Path) -> None:
    """Beat two ghosts for so long, and write down all that happens."""
    _raise_loopback()
    with ExitStack() as stack:
        history = History(path)
        stack.callback(history.close)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ghostd-soak-")))
        cannot: dict[str, str] = {}
        disks = {name: stack.enter_context(_disk(place / name, cannot)) for name in GHOSTS}
        groups = {name: stack.enter_context(_groups(name, cannot)) for name in GHOSTS}
        field = Field(place / "clock")
        environ = {"SOAK_SERVED": str(place / "served"), **_environ(field, cannot)}
        ghosts = [
            Mill(disks[MILL], history, groups[MILL], {"WORDMILL_QUEUE": str(place / "queue.db")}),
            Web(disks[WEB], history, groups[WEB], environ),
        ]
        history.add(Begun(seed, minutes, _commit(), cannot))
        crowd = Crowd(history, place / "queue.db", place / "thick.py")
        try:
            _play(minutes, seed, ghosts, crowd, Course(field, history, cannot))
        finally:
            _end(ghosts, history)
        _write_served(place / "served", history)


class Course:
    """What nemeses need to know."""

    def __init__(self, field: Field, history: History, cannot: dict[str, str]) -> None:
        self.field = field
        self.history = history
        self.cannot = cannot


def _play(minutes: float, seed: int, ghosts: list[Ghost], crowd: Crowd, course: Course) -> None:
    for ghost in ghosts:
        ghost.open()
    crowd.start()
    nemeses = [Nemesis(ghost, course.field, course.history, seed, course.cannot) for ghost in ghosts]
    for nemesis in nemeses:
        nemesis.start()
    try:
        threading.Event().wait(minutes * 60)
        with suppress(AssertionError):  # what was not struck even then the history tells
            wait_until(lambda: len(set().union(*(one.kinds for one in nemeses))) >= KINDS_LEAST, SLOW * minutes * 60)
    finally:
        for nemesis in nemeses:
            nemesis.stop()
        crowd.stop()
    crowd.jobs.finish(JOBS_LIMIT)


def _end(ghosts: list[Ghost], history: History) -> None:
    """Stop them in order; nothing may be left then."""
    for ghost in ghosts:
        code = ghost.close()
        if code != 0:
            history.add(Left(f"{ghost.name} was stopped in order and ended with {code}"))
        if ghost.pidfile.exists():
            history.add(Left(f"{ghost.pidfile.name} is still there"))
        ghost.stop_reading()
    try:
        wait_until(lambda: not reap_zombies(set()))
    except AssertionError:
        left = children_of(os.getpid())
        history.add(Left(f"processes have outlived the stop: {left}"))
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def _write_served(file: Path, history: History) -> None:
    for line in file.read_text().splitlines() if file.exists() else []:
        number, pid = line.split()
        history.add(Served(int(number), int(pid)))


# ── what the machine lends ──
def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh", b"lo", 0x1)  # IFF_UP: netdevice(7)
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


@contextmanager
def _disk(place: Path, cannot: dict[str, str]) -> Iterator[Path]:
    """A small one, for the log and the pidfile of one ghost."""
    place.mkdir()
    _mount(place, DISK, cannot)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check="full disk" not in cannot)


def _mount(place: Path, size: str, cannot: dict[str, str]) -> None:
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "soak", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        cannot["full disk"] = f"no small disk can be mounted: {done.stderr.strip()}"


@contextmanager
def _groups(name: str, cannot: dict[str, str]) -> Iterator[dict[str, Group]]:
    """Of each controller one group, which is the same one for all in version 2."""
    made: dict[str, Group] = {}
    by_path: dict[Path, Group] = {}
    token = os.urandom(4).hex()  # the first process of a namespace does not know its pid outside
    try:
        for controller, kind in CONTROLLERS.items():
            home = home_of(controller)
            if home is None:
                cannot[kind] = f"no control group with {controller} can be made here"
                continue
            path = home / f"ghostd-soak-{name}-{token}"
            if path not in by_path:
                by_path[path] = Group(path)
            made[controller] = by_path[path]
        yield made
    finally:
        for group in by_path.values():
            group.close()


def _environ(field: Field, cannot: dict[str, str]) -> dict[str, str]:
    if LIBRARY is None:
        cannot["clock step"] = "libfaketime is not installed"
        return {}
    set_clock(field.clock, 0)
    _mount(Path("/dev/shm"), "16m", {})  # where libfaketime leaves files of whoever is killed
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(field.clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # the kernel does not step that one either
    }


def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
