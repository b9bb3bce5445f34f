"""A handle on a child: what it says about an end, what it ends, and whom it never touches."""

import ctypes
import faulthandler
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from ghostd.linux.child import (
    BLOCKABLE,
    UNKNOWN,
    Child,
    block_signals,
    decode,
    have_pidfd,
    signals_blocked,
    unblock_signals,
)
from ghostd.linux.inbox import reset_all
from tests.support import is_alive, needs_root, needs_tool, wait_gone, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause, wait_exited

Make = Callable[[int], Child]


@pytest.fixture(params=[True, False], ids=["pidfd", "pid"])
def make(request: pytest.FixtureRequest) -> Make:
    """How to make a handle, with and without pidfds."""
    return lambda pid: Child(pid, use_pidfd=request.param)


def ended(one: Child) -> int:
    """Its status, once it has one."""
    wait_until(lambda: one.reap() is not None)
    status = one.reap()
    one.close()
    assert status is not None
    return status


# ── how it ended ──
def test_a_living_child_has_no_status(make: Make) -> None:
    with child(pause) as pid:
        one = make(pid)
        assert one.reap() is None
        one.end_group()
        ended(one)


def test_every_exit_code_is_told_as_it_was(make: Make) -> None:
    for code in range(256):
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
            for code in range(30):
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


# ── signals ──
def test_a_signal_arrives(make: Make) -> None:
    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        gate.open()
        os._exit(signal.sigwait({signal.SIGUSR1}))

    with Gate() as gate, child(work) as pid:
        gate.wait()
        one = make(pid)
        assert one.send(signal.SIGUSR1)
        assert decode(ended(one)) == (signal.SIGUSR1, None, False)


def test_a_signal_to_a_child_that_was_reaped_is_refused(make: Make) -> None:
    with child(lambda: 0) as pid:
        one = make(pid)
        ended(one)
        assert not one.send(signal.SIGTERM)
        one.end_group()


def test_a_signal_to_a_child_that_has_ended_changes_nothing(make: Make) -> None:
    with child(lambda: 9) as pid:
        one = make(pid)
        wait_exited(pid)
        assert one.send(signal.SIGKILL)
        assert decode(ended(one)) == (9, None, False)


def _new_pid_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWPID


def _fork_as(pid: int) -> int:
    """Fork a child with this pid: possible where this process has a PID namespace of its own."""
    with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
        file.write(str(pid - 1))
    return os.fork()


@needs_root
@pytest.mark.parametrize("use_pidfd", [True, False])
def test_a_recycled_pid_is_never_signalled(use_pidfd: bool) -> None:
    """The child is reaped behind our back, and its pid goes to a bystander that leads a group."""

    def bystander(pid: int, ready: Gate, done: Gate) -> int:
        recycled = _fork_as(pid)
        if recycled == 0:
            os.setpgid(0, 0)
            ready.tell(os.getpid())
            pause()
        done.wait()
        alive = os.waitpid(recycled, os.WNOHANG) == (0, 0)
        os.kill(recycled, signal.SIGKILL)
        os.waitpid(recycled, 0)
        return int(alive)

    def inside() -> tuple[bool, bool, int | None, int]:
        with child(lambda: 0) as pid:
            one = Child(pid, use_pidfd=use_pidfd)
            os.waitpid(pid, 0)
        with Gate() as ready, Gate() as done, child(lambda: bystander(pid, ready, done)) as helper:
            same = ready.told() == pid
            sent = one.send(signal.SIGKILL)
            one.end_group()
            status = one.reap()
            done.open()
            _, told = os.waitpid(helper, 0)
        return same, sent, status, os.WEXITSTATUS(told)

    def outside() -> object:
        _new_pid_namespace()
        return in_child(inside)  # its child is process 1 in there

    assert in_child(outside) == (True, False, UNKNOWN, 1)


# ── its group ──
def _lead(gate: Gate, then: Callable[[], object], member: Callable[[], object] = pause) -> None:
    """Lead a group with one more process in it, which does not listen; tell its pid and go on."""
    os.setpgid(0, 0)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        member()
        gate.tell(os.getpid())
        pause()
    if member is pause:
        gate.tell(pid)
    then()


def test_what_is_left_of_its_group_ends_with_it(make: Make) -> None:
    with Gate() as gate, child(lambda: _lead(gate, lambda: None)) as pid:
        one = make(pid)
        left = gate.told()
        wait_exited(pid)
        assert is_alive(left)
        assert decode(ended(one)) == (0, None, False)
        wait_gone(left)


def test_the_whole_group_of_a_living_child_can_be_ended(make: Make) -> None:
    with Gate() as gate, child(lambda: _lead(gate, pause)) as pid:
        one = make(pid)
        left = gate.told()
        one.end_group()
        assert decode(ended(one)) == (None, signal.SIGKILL, False)
        wait_gone(left)


def test_a_child_that_has_not_made_its_group_yet_ends_alone(make: Make) -> None:
    with child(pause) as bystander, child(pause) as pid:
        one = make(pid)
        one.end_group()
        assert decode(ended(one)) == (None, signal.SIGKILL, False)
        assert is_alive(bystander)  # of our own group, as we are


def test_a_process_that_left_the_group_is_not_ours(make: Make) -> None:
    with Gate() as gate, child(lambda: _lead(gate, pause, member=os.setsid)) as pid:
        one = make(pid)
        left = gate.told()
        one.end_group()
        ended(one)
        assert is_alive(left)
        os.kill(left, signal.SIGKILL)  # an orphan of ours, unreaped: nobody else's pid
        wait_gone(left)


def test_nobody_ends_itself_by_having_joined_the_group_of_its_child(make: Make) -> None:
    def lead(ready: Gate, gate: Gate) -> None:
        os.setpgid(0, 0)
        ready.open()
        gate.wait()

    def work() -> int | None:
        with Gate() as ready, Gate() as gate, child(lambda: lead(ready, gate)) as pid:
            ready.wait()
            os.setpgid(0, pid)
            gate.open()
            return ended(make(pid))

    assert in_child(work) == 0


# ── signals and forks ──
def test_a_signal_waits_for_the_end_of_the_block() -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        with signals_blocked():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not seen
        assert seen == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_mask_that_was_comes_back() -> None:
    def work() -> set[int]:
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1})
        with signals_blocked():
            pass
        return {int(signum) for signum in signal.pthread_sigmask(signal.SIG_BLOCK, ())}

    assert in_child(work) == {signal.SIGUSR1}


def test_faults_and_what_cannot_be_blocked_are_not_blocked() -> None:
    assert not BLOCKABLE & {signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL, signal.SIGSTOP}
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGHUP} <= BLOCKABLE


def test_a_signal_between_fork_and_new_handlers_is_kept_for_the_child() -> None:
    """Neither lost, nor handled by what the parent had set: in each of 50 births."""
    parents: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: parents.append(os.getpid()))

    def newborn() -> None:
        got: list[int] = []
        reset_all()
        signal.signal(signal.SIGTERM, lambda *_: got.append(1))
        unblock_signals()
        wait_until(lambda: got)
        os._exit(41 if not parents else 42)

    try:
        for _ in range(50):
            mask = block_signals()
            pid = os.fork()
            if pid == 0:
                newborn()
            one = Child(pid)
            one.send(signal.SIGTERM)
            unblock_signals(mask)
            assert decode(ended(one)) == (41, None, False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not parents
