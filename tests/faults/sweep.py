"""Fails every system call of a manager, one at a time, once and for ever, and looks at what has become of the ghost.

A scenario brings a ghost to a point, is recorded once under strace, and then played again for each call that was seen
and each error that the call may have; also with a signal, or with the end of the manager, at that call. Whatever
happens: no process, zombie, descriptor or file is left over, the pool is whole again once the fault is over, or the
manager has ended with an honest code and a log that says why.

    python -m tests.faults.sweep [--scenario NAME] [--part 1/2] [--most 50 --seed 7]
"""

import argparse
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ghostd.errors import ExitCode
from tests.faults.scenarios import SCENARIOS, Scenario, kill_one, run, set_stage
from tests.live.harness import Stage, Subject
from tests.support import adopt_orphans, wait_until

# What a call may fail with. Calls that are not here cannot fail, or have no meaning outside of memory and time.
ERRORS: Final[dict[str, tuple[str, ...]]] = {
    "clone": ("EAGAIN", "ENOMEM"),
    "openat": ("EMFILE", "ENFILE", "ENOSPC", "EACCES", "EIO"),
    "write": ("ENOSPC", "EIO", "EAGAIN"),
    "read": ("EIO",),
    "fsync": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
    "unlink": ("EIO", "EROFS"),
    "waitid": ("ECHILD", "EINTR"),
    "wait4": ("ECHILD", "EINTR"),
    "epoll_wait": ("EINTR",),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_create1": ("EMFILE", "ENOMEM"),
    "setgroups": ("EPERM",),
    "setresgid": ("EPERM", "EAGAIN"),
    "setresuid": ("EPERM", "EAGAIN"),
    "fchown": ("EPERM",),
    "ftruncate": ("EIO",),
    "lseek": ("EINVAL",),
    "mmap": ("ENOMEM",),
    "fallocate": ("ENOSPC", "ENOMEM"),
    "memfd_create": ("EMFILE", "ENOMEM"),
    "pipe2": ("EMFILE", "ENFILE"),
    "pidfd_open": ("EMFILE", "ENOMEM"),
    "pidfd_send_signal": ("ESRCH", "EPERM"),
    "kill": ("ESRCH", "EPERM"),
    "fcntl": ("EMFILE", "EINVAL"),
    "newfstatat": ("EIO", "ENOENT"),
    "fstat": ("EIO",),
    "readlink": ("EIO",),
    "getdents64": ("EIO",),
    "prctl": ("EINVAL",),
    "prlimit64": ("EPERM",),
    "setsid": ("EPERM",),
    "dup2": ("EMFILE",),
    "chdir": ("EACCES",),
    "socket": ("EMFILE", "ENOBUFS"),
    "bind": ("EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "ENOMEM"),
    "listen": ("EADDRINUSE", "ENOBUFS"),
    "setsockopt": ("ENOBUFS", "ENOPROTOOPT"),
    "getsockopt": ("ENOBUFS",),
    "getsockname": ("ENOBUFS",),
    "shutdown": ("ENOTCONN",),
}
# Python takes an interrupted call up again, for ever if need be; and no kernel denies an own child for ever.
ONLY_ONCE: Final = {"EINTR", "ECHILD"}
# A byte for a pipe, of a signal that has come or the word to the starter: only a full one refuses it, and that is read.
WAKES: Final = re.compile(r'\(\d+, "(\\\d+|R)", 1\)')
SIGNALS: Final = ("TERM", "QUIT", "KILL")

# What a log may say instead of the words of the system.
SAID: Final = {
    "ENOENT": ("does not exist", "was removed", "there is no directory"),
    "ENOMEM": ("MemoryError", "failed to map segment"),
    "EACCES": ("may not write",),
    "EADDRINUSE": ("another process does",),
    "EADDRNOTAVAIL": ("does not have that address",),
}
# What cannot be removed, or not be known for one's own, when that very call fails.
_OWN: Final = {"subject.pid", "subject.pid.lock", "subject.pid.ready", "x.sock", "x.sock.lock"}
MAY_STAY: Final = {"unlink": _OWN, "newfstatat": _OWN, "fstat": _OWN, "fcntl": {"subject.pid.lock", "x.sock.lock"}}

PATIENCE: Final = 30.0  # seconds until the pool must be whole, or the manager gone, after the fault
WHILE: Final = 0.6  # seconds that a scenario is given while a fault lasts for ever


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to one call."""

    scenario: str
    call: str
    at: int  # its number among the calls of that name
    how: str  # error=EIO, error=EIO:for ever, signal=TERM

    def __str__(self) -> str:
        return f"{self.scenario}: {self.call} {self.at} {self.how}"

    @property
    def expression(self) -> str:
        """As strace takes it."""
        how, _, endless = self.how.partition(":")
        return f"{self.call}:{how}:when={self.at}{'+' if endless else ''}"

    @property
    def name(self) -> str:
        """Of the error or of the signal."""
        return self.how.partition("=")[2].partition(":")[0]

    @property
    def is_mute(self) -> bool:
        """Whether nothing at all can be written any more, neither to the log nor to stderr: only the code can tell."""
        return self.call == "write" and self.how.endswith(":for ever")

    @property
    def is_deadly(self) -> bool:
        """Whether it ends the manager without a chance to tidy up."""
        return self.how == "signal=KILL"

    @property
    def is_request(self) -> bool:
        """Whether it asks the manager to end."""
        return self.how in ("signal=TERM", "signal=QUIT")


class Broken(AssertionError):
    """The ghost did not take a fault as it should."""


# ── strace ──
@contextmanager
def traced(pid: int, *words: str) -> Iterator[None]:
    """In this block strace is at the process."""
    tracer = subprocess.Popen(
        ["strace", "-qq", *words, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: tracer.poll() is not None or _tracer_of(pid) == tracer.pid, what="strace on the manager")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)


def _tracer_of(pid: int) -> int:
    try:
        found = re.search(r"TracerPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def record(scenario: Scenario, place: Path) -> list[tuple[str, bool]]:
    """The calls that the manager makes in the scenario, and whether each is the wake-up of a signal."""
    stage, subject = set_stage(scenario, place)
    trace = place / "trace"
    try:
        _settle(scenario, subject)
        with traced(subject.pid, "-o", str(trace)):
            scenario.act(subject)
            wait_until(lambda: scenario.is_done(subject), PATIENCE, f"{scenario.name} without a fault")
        made = re.findall(r"^(\w+)(\(.*)$", trace.read_text(), re.MULTILINE)
    finally:
        stage.close()
    return [(call, WAKES.match(rest) is not None) for call, rest in made if call in ERRORS]


def faults(scenario: Scenario, calls: list[tuple[str, bool]]) -> Iterator[Fault]:
    """Everything that can be done to the calls that were seen."""
    seen: Counter[str] = Counter()
    for call, wakes in calls:
        seen[call] += 1
        at = seen[call]
        for error in () if wakes else ERRORS[call]:
            yield Fault(scenario.name, call, at, f"error={error}")
            if error not in ONLY_ONCE:
                yield Fault(scenario.name, call, at, f"error={error}:for ever")
        yield from (Fault(scenario.name, call, at, f"signal={name}") for name in SIGNALS)


# ── playing and judging ──
def play(fault: Fault, place: Path) -> None:
    """Play the scenario with the fault; raises Broken."""
    scenario = SCENARIOS[fault.scenario]
    stage, subject = set_stage(scenario, place)
    try:
        _settle(scenario, subject)
        before = 0 if scenario.from_start else _descriptors(subject.pid)
        trace = place / "trace"
        with traced(subject.pid, "-o", str(trace), "-e", f"trace={fault.call}", "-e", f"inject={fault.expression}"):
            scenario.act(subject)
            _wait(lambda: scenario.is_done(subject) or not subject.is_running(), WHILE)
        was_seen = re.search(rf"\(INJECTED\)|--- SIG{fault.name} |\+\+\+ killed by SIG{fault.name}", trace.read_text())
        if was_seen or (fault.is_deadly and not subject.is_running()):  # who is killed may not be seen to make the call
            _judge(fault, scenario, stage, subject, before)
        else:  # this time the manager made fewer such calls
            _wait(lambda: scenario.is_done(subject), PATIENCE)
            subject.send(signal.SIGQUIT) if subject.is_running() else None
            assert subject.wait_end() == 0, "without any fault"
    except (AssertionError, LookupError, ValueError, OSError) as error:
        raise Broken(f"{fault}: {error}\n{_log(place)[-1500:]}") from error
    finally:
        stage.close()


def _settle(scenario: Scenario, subject: Subject) -> None:
    if not scenario.from_start:
        wait_until(lambda: len(subject.notes("begin")) >= 2 and "Pool is whole" in _log(subject._stage.place))


def _judge(fault: Fault, scenario: Scenario, stage: Stage, subject: Subject, before: int) -> None:
    place = stage.place
    if fault.is_deadly:
        subject.wait_end()  # and no spirit is left within two seconds
        again = run(scenario, stage, {})
        _wait_for(lambda: len(again.spirits()) == 2, "the next start after the manager was killed")
        code = again.quit()
    elif scenario.ends or fault.is_request:
        if not _wait(lambda: not subject.is_running(), PATIENCE):
            raise AssertionError("it did not end when it was asked to")
        code = subject.wait_end()
    elif _wait(lambda: _is_calm(subject, scenario.numbers), PATIENCE) and subject.is_running():
        _judge_living(scenario, subject, before)
        code = subject.quit()
    else:
        code = subject.wait_end()
    _judge_end(fault, code, place)


def _judge_living(scenario: Scenario, subject: Subject, before: int) -> None:
    """It serves: whoever dies is replaced, and it holds no more than before."""
    wanted = len(subject.spirits())
    begun = len(subject.notes("begin"))
    kill_one(subject)
    _wait_for(lambda: len(subject.notes("begin")) > begun and len(subject.spirits()) == wanted, "a replacement")
    _wait_for(lambda: not subject.zombies(), "zombies to be reaped")
    if before and scenario.name != "scale":
        # A spirit whose handle could not be opened is watched without one.
        _wait_for(lambda: _descriptors(subject.pid) <= before, f"at most {before} descriptors, as before the fault")


def _judge_end(fault: Fault, code: int, place: Path) -> None:
    codes = {int(one) for one in ExitCode} - {ExitCode.BUG}
    if fault.is_request and SCENARIOS[fault.scenario].from_start:
        codes |= {-signal.SIGTERM, -signal.SIGQUIT}  # before it was a manager
    assert code in codes, f"ended with {code}"
    if code > 0 and not (fault.is_request or fault.is_mute):
        words = (os.strerror(getattr(errno, fault.name)), *SAID.get(fault.name, ()))
        assert any(one in _log(place) for one in words), f"ended with {code}, and the log says none of {words}"
    left = {file.name for file in place.iterdir()} - {"subject.py", "notes", "log", "log.1", "trace"}
    may_stay = MAY_STAY.get(fault.call, set())
    if fault.is_request and f"ended by SIG{fault.name} before it was ready" in _log(place):
        may_stay = may_stay | {"subject.pid.lock"}  # of a daemon, before it had handlers: the next start takes it
    assert not left - may_stay, f"left over: {sorted(left)}"


def _is_calm(subject: Subject, numbers: tuple[int, ...]) -> bool:
    """Whether it has ended, or has as many spirits as it should have, and the same for a while."""
    seen = subject.spirits()
    if len(seen) not in numbers and subject.is_running():
        return False
    return not _wait(lambda: subject.spirits() != seen, 0.25)


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return -1


def _log(place: Path) -> str:
    files = [file for file in (place / "log.1", place / "log") if file.exists()]
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def _wait(condition: Callable[[], bool], limit: float) -> bool:
    try:
        return wait_until(condition, limit)
    except AssertionError:
        return False


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, PATIENCE, what)


# ── all of it ──
def sweep(
    scenarios: list[str], *, seed: int = 1, most: int | None = None, part: tuple[int, int] = (1, 1)
) -> Iterator[tuple[Fault, str]]:
    """Play the faults of the scenarios, of each at most so many: each with what is wrong, if anything is."""
    number, parts = part
    for name in scenarios:
        with tempfile.TemporaryDirectory(prefix="ghostd-sweep-") as place:
            calls = record(SCENARIOS[name], Path(place))
        known = list(faults(SCENARIOS[name], calls))
        chosen = known if most is None or most >= len(known) else random.Random(seed).sample(known, most)
        for fault in chosen[number - 1 :: parts]:
            yield fault, _played(fault)


def _played(fault: Fault) -> str:
    with tempfile.TemporaryDirectory(prefix="ghostd-sweep-") as place:
        try:
            play(fault, Path(place))
        except Broken as broken:
            return str(broken)
    return ""


def main(words: list[str]) -> int:
    """Play them, tell what breaks: 0 when nothing does."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--most", type=int, help="of each scenario; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="1/1")
    said = parser.parse_args(words)
    number, _, parts = said.part.partition("/")
    assert shutil.which("strace"), "needs strace"
    adopt_orphans()
    begun, played, broken = time.monotonic(), 0, 0
    for _, wrong in sweep(
        said.scenario or list(SCENARIOS), seed=said.seed, most=said.most, part=(int(number), int(parts))
    ):
        played += 1
        if wrong:
            broken += 1
            sys.stdout.write(f"BROKEN {wrong}\n\n")
            sys.stdout.flush()
    took = time.monotonic() - begun
    sys.stdout.write(f"{played} faults played in {took:.0f} s (seed {said.seed}): {broken} broken\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
