"""Signals and ends: whom a handle on a child reaches, and whom it never touches."""

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from ghostd.linux.child import (
    BLOCKABLE,
    UNKNOWN,
    Child,
    block_signals,
    decode,
    signals_blocked,
    unblock_signals,
)
from ghostd.linux.inbox import reset_all
from tests.support import is_alive, needs_root, wait_gone, wait_until
from tests.unit.linux.forks import Gate, Make, child, ended, in_child, pause, wait_exited


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
        os.kill(recycled, signal.SIGUSR1)  # what ended it tells whether it was alive until now
        return os.WTERMSIG(os.waitpid(recycled, 0)[1])

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

    assert in_child(outside) == (True, False, UNKNOWN, signal.SIGUSR1)


@needs_root
@pytest.mark.parametrize("use_pidfd", [True, False])
def test_a_later_child_with_the_same_pid_is_another(use_pidfd: bool) -> None:
    def inside() -> tuple[bool, int | None, int | None]:
        with child(lambda: 3) as pid:
            one = Child(pid, use_pidfd=use_pidfd)
            wait_exited(pid)
            first = one.reap()
        again = _fork_as(pid)
        if again == 0:
            os.setpgid(0, 0)
            gate.open()
            pause()
        gate.wait()
        assert again == pid
        sent = one.send(signal.SIGKILL)
        one.end_group()
        second = one.reap()
        assert second == first
        os.kill(pid, signal.SIGUSR1)
        return sent, second, os.WTERMSIG(os.waitpid(pid, 0)[1])

    def outside() -> object:
        _new_pid_namespace()
        return in_child(inside)

    with Gate() as gate:
        assert in_child(outside) == (False, 3 << 8, signal.SIGUSR1)


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
        wait_gone(pid, left)  # before it is reaped
        assert decode(ended(one)) == (None, signal.SIGKILL, False)


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
    """Neither lost, nor handled by what the parent had set: in each of 30 births."""
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
        for _ in range(30):
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
