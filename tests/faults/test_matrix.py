"""The same life of a ghost in every surroundings that a machine may have: start, respawn, reload, scale, stop.

Rule: what is seen comes from the kernel and from the log, so that it can be seen where nothing can be written to.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.live.harness import Stage, Subject
from tests.live.places import AS_NOBODY, open_stage, told
from tests.support import children_of, needs_root, needs_tool, wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]

BODY: Final = """\
class Subject(Prefork):
    def spirit(self):
        while self.tick():
            time.sleep(0.01)
"""
ORPHANS: Final = """\
class Subject(Prefork):
    def spirit(self):
        if os.fork() == 0:
            os._exit(0) if os.fork() else os._exit(3)
        os.wait()
        while self.tick():
            time.sleep(0.01)
"""

PID_ONE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
AS_ANYBODY: Final = ("setpriv", "--reuid", "1234567", "--regid", "7654321", "--clear-groups")
MOUNTS: Final = ("unshare", "--mount", "--propagation", "private", "bash", "-ec")

# A root that nobody can write to, with nothing but /proc and /dev of its own.
READ_ONLY: Final = """
mount --rbind / PLACE/top
mount -o remount,ro,bind PLACE/top
mount --bind /proc PLACE/top/proc
exec chroot PLACE/top env -u HOME -C PLACE "$@"
"""
WITHOUT_SHM: Final = """
mount -t tmpfs none PLACE/top
for name in null zero full random urandom; do
    touch PLACE/top/$name
    mount --bind /dev/$name PLACE/top/$name
done
mount --bind PLACE/top /dev
test ! -e /dev/shm
exec "$@"
"""

# Ignores or blocks signals, or adopts orphans, and then becomes the program.
BECOME: Final = """
import ctypes, os, signal, sys
how, words, *command = sys.argv[1:]
numbers = {int(word) for word in words.split()}
if how == "blocked":
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
elif how == "ignored":
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
else:
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
os.execvp(command[0], command)
"""


@dataclass(frozen=True, slots=True)
class Around:
    """Where a ghost lives: what stands before its command, with PLACE for the directory of the test."""

    prefix: tuple[str, ...] = ()
    body: str = BODY
    options: dict[str, Any] = field(default_factory=dict)
    detaches: bool = False  # by `start`, instead of `run`
    is_inner: bool = False  # the manager is the child of the process that was run
    environ: dict[str, str] = field(default_factory=dict)


# ── the life ──
def respawn(subject: Subject) -> None:
    victim = min(subject.spirits())
    os.kill(victim, signal.SIGKILL)
    subject.wait_spirits(2, without={victim})


def reload(subject: Subject) -> None:
    old = subject.spirits()
    done = len(subject.logged(r"\] Reloaded: "))
    subject.send(signal.SIGHUP)
    subject.wait_log(r"\] Reloaded: ", done + 1)
    subject.wait_spirits(2, without=old)


def scale(subject: Subject) -> None:
    subject.send(signal.SIGTTIN)
    subject.wait_spirits(3)
    subject.send(signal.SIGTTOU)
    subject.wait_spirits(2)


def stop(subject: Subject) -> None:
    subject.send(signal.SIGQUIT)
    subject.wait_log("Manager .* stopped")


def live(subject: Subject) -> None:
    """All of it, one after another; and nobody is left to be reaped, nor did anything go wrong on the way."""
    subject.wait_log("Pool is whole")
    subject.wait_spirits(2)
    for step in (respawn, reload, scale, respawn):
        step(subject)
    wait_until(lambda: not subject.zombies(), what="that all are reaped")
    assert not subject.logged(r"Traceback|\[(crit|alert|emerg|fatal)\]|WARNING"), subject.report()
    stop(subject)


def play(stage: Stage, around: Around) -> None:
    """Start it there, live, and end with code 0 and nothing left."""
    (stage.place / "top").mkdir()
    prefix = [word.replace("PLACE", str(stage.place)) for word in around.prefix]
    options = {"pidfile": None if around.body is not ORPHANS and around.is_inner else _pidfile(stage), **around.options}
    if around.detaches:
        subject = _start(stage, prefix, around, options)
        live(subject)
        assert subject.wait_end() == 0
        return
    outer = stage.run(around.body, prefix=prefix, whole=False, environ=around.environ, **options)
    outer.wait_log("Pool is whole")
    live(Subject(stage, min(children_of(outer.pid))) if around.is_inner else outer)
    assert outer.wait_end() == 0


def _pidfile(stage: Stage) -> str:
    return str(stage.place / "subject.pid")


def _start(stage: Stage, prefix: list[str], around: Around, options: dict[str, Any]) -> Subject:
    stage.write(around.body, logfile=True, **options)
    answer = told(stage, "start", prefix=prefix, environ=around.environ)
    assert answer.code == 0, f"{answer}\n{stage.log()}"
    return Subject(stage, int((stage.place / "subject.pid").read_text().split()[0]))


# ── in containers, and as other users ──
PLACES: Final = {
    "as PID 1": Around(PID_ONE, is_inner=True),
    "as PID 1 with orphans": Around(PID_ONE, ORPHANS, is_inner=True),
    "as one that adopts orphans": Around((sys.executable, "-c", BECOME, "adopts", ""), ORPHANS),
    "detached under one that adopts orphans": Around(body=ORPHANS, detaches=True),
    "as an ordinary user": Around(AS_NOBODY),
    "as an ordinary user, detached": Around(AS_NOBODY, detaches=True),
    "as a user without an entry": Around(AS_ANYBODY, environ={"HOME": "", "USER": "", "LOGNAME": ""}),
    "as a user without an entry, detached": Around(AS_ANYBODY, detaches=True, environ={"HOME": "", "USER": ""}),
    "on a read-only root": Around((*MOUNTS, READ_ONLY, "-"), options={"pidfile": None}),
    "as PID 1 of anybody on a read-only root": Around(
        (*PID_ONE, "bash", "-ec", READ_ONLY, "-", *AS_ANYBODY), options={"pidfile": None}, is_inner=True
    ),
    "without /dev/shm": Around((*MOUNTS, WITHOUT_SHM, "-")),
    "without /dev/shm, detached": Around((*MOUNTS, WITHOUT_SHM, "-"), detaches=True),
}


@functools.cache
def others_can_run_this_python() -> bool:
    """Whether it is not in a home that is closed to others, where a developer's own may be."""
    done = subprocess.run([*AS_NOBODY, sys.executable, "-c", "pass"], capture_output=True, check=False)
    return done.returncode == 0


@needs_root
@needs_tool("unshare")
@needs_tool("setpriv")
@pytest.mark.root
@pytest.mark.namespace
@pytest.mark.parametrize("place", PLACES)
def test_a_ghost_lives_there(place: str) -> None:
    if "setpriv" in PLACES[place].prefix and not others_can_run_this_python():
        pytest.skip(f"other users cannot run {sys.executable}")
    with open_stage() as stage:
        play(stage, PLACES[place])


# ── with descriptors closed ──
@pytest.mark.parametrize("detaches", [False, True], ids=["run", "start"])
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=lambda fds: " ".join(map(str, fds)))
def test_a_ghost_lives_that_was_started_with_descriptors_closed(
    stage: Stage, closed: tuple[int, ...], detaches: bool
) -> None:
    script = 'exec "$@" ' + " ".join(f"{fd}>&-" for fd in closed)
    play(
        stage,
        Around(("bash", "-c", script, "-"), environ={"GHOSTD_LOGFILE": str(stage.place / "log")}, detaches=detaches),
    )


# ── with signals ignored or blocked ──
NEVER: Final = {signal.SIGKILL, signal.SIGSTOP}
REAL_TIME: Final = set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
CHANGEABLE: Final = sorted(signal.valid_signals() - NEVER)
SIGNALS: Final = {one.name: [one] for one in CHANGEABLE if one not in REAL_TIME} | {"all": CHANGEABLE}


@pytest.mark.parametrize("how", ["ignored", "blocked"])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_ghost_lives_that_was_started_with_a_signal_ignored_or_blocked(stage: Stage, how: str, name: str) -> None:
    numbers = " ".join(str(int(number)) for number in SIGNALS[name])
    play(stage, Around((sys.executable, "-c", BECOME, how, numbers)))
