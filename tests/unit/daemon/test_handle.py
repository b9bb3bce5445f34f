"""A handle stands for one process for ever: whoever gets its number later is never signalled."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.daemon.handle import Handle
from ghostd.errors import DeniedError
from ghostd.linux import procfs
from tests.support import deadline, needs_root, wait_until
from tests.unit.linux.forks import child, in_child, pause

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
Make = Callable[[int], Handle]


@pytest.fixture(params=[True, False], ids=["pidfd", "pid"])
def make(request: pytest.FixtureRequest) -> Make:
    return lambda pid: Handle(pid, use_pidfd=request.param)


def test_a_signal_arrives_and_the_end_is_seen(make: Make) -> None:
    with child(pause) as pid, make(pid) as handle:
        assert not handle.has_ended()
        assert not handle.wait_end(0.01)
        assert handle.send(signal.SIGTERM)
        with deadline(5.0):
            assert handle.wait_end(10.0)
        assert handle.has_ended()  # though nobody has reaped it: a zombie has ended
        assert procfs.is_zombie(pid)


def test_one_that_has_ended_is_not_signalled(make: Make) -> None:
    with child(pause) as pid, make(pid) as handle:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert handle.send(signal.SIGTERM) is False
        assert handle.wait_end(0.0)


def test_one_that_never_was_has_ended(make: Make) -> None:
    with make(2**22 - 1) as handle:
        assert handle.has_ended()
        assert handle.send(signal.SIGTERM) is False


@needs_root
def test_a_recycled_number_is_never_signalled(make: Make) -> None:
    for _ in range(200):  # another process of this machine may snatch the number
        with child(pause) as pid:
            handle = make(pid)
            begun = procfs.start_ticks(pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        wait_until(lambda begun=begun: _ticks_now() > (begun or 0))  # type: ignore[misc]
        LAST_PID.write_text(str(pid - 1))
        with child(pause) as bystander, handle:
            if bystander != pid:
                continue
            assert handle.has_ended()
            assert handle.send(signal.SIGKILL) is False
            assert not procfs.is_zombie(bystander)
            return
    pytest.fail(f"no process ever got the number {pid} again")


def _ticks_now() -> int:
    """The start time that a process born now has."""

    def born() -> int:
        return procfs.start_ticks(os.getpid()) or 0

    return int(in_child(born))


@needs_root
def test_another_users_process_is_denied(make: Make) -> None:
    parent = os.getpid()

    def ask() -> str:
        os.setresuid(65534, 65534, 65534)
        with make(parent) as handle, pytest.raises(DeniedError) as told:
            handle.send(signal.SIGTERM)
        return str(told.value)

    assert f"process {parent} cannot be signalled by uid 65534: it is another user's" in in_child(ask)
