"""A handle on a child: what it says about its end, and the descriptor that tells when."""

import faulthandler
import os
import resource
import select
import signal
import subprocess
import sys

import pytest

from ghostd.linux.child import (
    UNKNOWN,
    Child,
    decode,
    have_pidfd,
)
from ghostd.linux.inbox import reset_all
from tests.support import needs_tool, wait_until
from tests.unit.linux.forks import Gate, Make, child, ended, in_child, pause, wait_exited


# ── how it ended ──
def test_a_living_child_has_no_status(make: Make) -> None:
    with child(pause) as pid:
        one = make(pid)
        assert one.reap() is None
        one.end_group()
        ended(one)


def test_every_exit_code_is_told_as_it_was(make: Make) -> None:
    for code in range(256):
        assert decode(code << 8) == (code, None, False)
    for code in (0, 1, 3, 4, 127, 128, 255):
        with child(lambda code=code: code) as pid:  # type: ignore[misc]
            assert decode(ended(make(pid))) == (code, None, False)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1, signal.SIGRTMAX])
def test_the_signal_that_ended_it_is_told(make: Make, signum: int) -> None:
    def die() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        reset_all()
        os.kill(os.getpid(), signum)
        pause()

    with child(die) as pid:
        assert decode(ended(make(pid))) == (None, signum, False)


def test_a_core_is_told() -> None:
    assert decode(0x80 | signal.SIGABRT) == (None, signal.SIGABRT, True)


def test_the_status_stays_the_same_after_the_reaping(make: Make) -> None:
    with child(lambda: 7) as pid:
        one = make(pid)
        first = ended(one)
        assert one.reap() == first
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_stopped_child_has_not_ended(make: Make) -> None:
    with child(pause) as pid:
        one = make(pid)
        assert one.send(signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert one.reap() is None
        assert one.send(signal.SIGKILL)  # works on a stopped one
        assert decode(ended(one)) == (None, signal.SIGKILL, False)


def test_a_child_that_somebody_else_reaped_is_gone_in_an_unknown_way(make: Make) -> None:
    with child(lambda: 3) as pid:
        one = make(pid)
        os.waitpid(pid, 0)
        assert one.reap() == UNKNOWN
        assert decode(UNKNOWN) == (None, None, False)
        assert not one.send(signal.SIGTERM)
        one.close()


def test_ignored_sigchld_costs_the_status_and_no_more(make: Make) -> None:
    def work() -> int | None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with child(lambda: 3) as pid:
            one = make(pid)
            wait_until(lambda: one.reap() is not None)
            return one.reap()

    assert in_child(work) == UNKNOWN


def test_interrupted_calls_go_on(make: Make) -> None:
    seen = []
    before = signal.signal(signal.SIGUSR2, lambda *_: seen.append(1))

    def disturb(pid: int) -> None:
        for _ in range(2000):
            os.kill(pid, signal.SIGUSR2)

    try:
        with child(lambda: disturb(os.getppid())) as nuisance:
            for code in range(20):
                with child(lambda code=code: code) as pid:  # type: ignore[misc]
                    assert decode(ended(make(pid))) == (code, None, False)
            assert decode(ended(make(nuisance))) == (0, None, False)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen


@needs_tool("strace")
@pytest.mark.parametrize("site", ["waitid", "wait4"])
def test_one_false_echild_loses_no_status(site: str) -> None:
    program = """
import os, sys
from ghostd.linux.child import Child, decode
pid = os.fork()
if pid == 0:
    os._exit(5)
one = Child(pid)
os.read(os.open('/dev/null', os.O_RDONLY), 1)
while (status := one.reap()) is None:
    pass
sys.exit(decode(status)[0])
"""
    trace = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={site}", "-e", f"inject={site}:error=ECHILD:when=1"]
    assert subprocess.run([*trace, sys.executable, "-c", program], check=False, timeout=30).returncode == 5


@needs_tool("strace")
def test_a_false_echild_that_does_not_end_makes_no_living_child_gone() -> None:
    program = """
import os, signal, sys
from ghostd.linux.child import UNKNOWN, Child
pid = os.fork()
if pid == 0:
    signal.pause()
one = Child(pid)
alive = one.reap() is None
one.end_group()
while (status := one.reap()) is None:
    pass
sys.exit(40 if alive and status == UNKNOWN else 41)
"""
    trace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=waitid", "-e", "inject=waitid:error=ECHILD"]
    assert subprocess.run([*trace, sys.executable, "-c", program], check=False, timeout=30).returncode == 40


# ── its descriptor ──
def test_its_descriptor_is_readable_when_it_has_ended() -> None:
    with Gate() as gate, child(gate.wait) as pid:
        one = Child(pid)
        poll = select.poll()
        poll.register(one.fileno(), select.POLLIN)
        assert not poll.poll(0)
        gate.open()
        assert poll.poll(10_000)
        ended(one)


def test_its_descriptor_does_not_pass_an_exec() -> None:
    with child(pause) as pid:
        one = Child(pid)
        assert not os.get_inheritable(one.fileno())
        one.end_group()
        ended(one)


def test_a_closed_handle_can_still_reap(make: Make) -> None:
    with child(lambda: 4) as pid:
        one = make(pid)
        one.close()
        one.close()
        assert one.fileno() == -1
        assert decode(ended(one)) == (4, None, False)


def test_without_a_free_descriptor_it_works_by_pid() -> None:
    def work() -> tuple[int, object]:
        pid = os.fork()
        if pid == 0:
            os._exit(6)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        one = Child(pid)
        wait_exited(pid)
        return one.fileno(), one.reap()

    assert in_child(work) == (-1, 6 << 8)


def test_a_python_without_pidfds_works_by_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert have_pidfd()
    monkeypatch.delattr(os, "pidfd_open")
    assert not have_pidfd.__wrapped__()
    with child(lambda: 8) as pid:
        one = Child(pid)
        assert one.fileno() == -1
        assert decode(ended(one)) == (8, None, False)


def test_no_handle_is_made_on_a_group_or_on_everybody() -> None:
    for pid in (0, -1, -os.getpgrp()):
        with pytest.raises(AssertionError):
            Child(pid)
