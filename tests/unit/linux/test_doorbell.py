"""The doorbell: who rings is heard, whoever is there or not, and nobody ever waits for it."""

import fcntl
import os
import select
import signal
import termios
from array import array
from collections.abc import Iterator

import pytest

from ghostd.linux import fds
from ghostd.linux.board import Doorbell
from tests.support import deadline, is_open, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause


# ── the doorbell ──
@pytest.fixture
def bell() -> Iterator[Doorbell]:
    one = Doorbell()
    yield one
    one.close()


def is_ringing(bell: Doorbell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_a_ring_is_heard_until_it_is_answered(bell: Doorbell) -> None:
    assert not is_ringing(bell)
    bell.ringing()()
    bell.ringing()()
    assert is_ringing(bell)
    assert bell.drain()
    assert not is_ringing(bell)
    assert not bell.drain()


def test_a_ring_wakes_another_process(bell: Doorbell) -> None:
    def newborn() -> None:
        bell.adopt()
        bell.ringing()()

    with child(newborn):
        assert select.select([bell], [], [], 10.0)[0]


def test_ringing_never_blocks(bell: Doorbell) -> None:
    with deadline(5.0):
        for _ in range(70_000):  # more than a pipe holds
            bell.ringing()()
    assert bell.drain()
    assert not bell.drain()


def test_ringing_when_nobody_hears_is_no_error(bell: Doorbell) -> None:
    def newborn() -> None:
        bell.adopt()
        gate.wait()
        bell.ringing()()

    with Gate() as gate, child(newborn) as pid:
        bell.close()
        gate.open()
        assert os.waitpid(pid, 0)[1] == 0


def test_a_newborn_cannot_answer_the_bell(bell: Doorbell) -> None:
    def newborn() -> list[str]:
        bell.adopt()
        os.fstat(bell.ring_fileno())
        return [name for fd, name in fds.census().items() if fd == reader]

    reader = bell.fileno()
    assert in_child(newborn) == []


def test_a_spirit_cannot_make_the_manager_wait(bell: Doorbell) -> None:
    """Blocking is a property of the description, which a fork shares: the manager's end has one of its own."""

    def newborn() -> None:
        bell.adopt()
        os.set_blocking(bell.ring_fileno(), True)
        bell.ringing()()
        gate.open()
        pause()

    with Gate() as gate, child(newborn):
        gate.wait()
        wait_until(bell.drain)
        assert not bell.drain()  # the spirit lives on and is silent: a wait for it would never end


def test_a_spirit_that_is_killed_at_any_moment_leaves_the_bell_working(bell: Doorbell) -> None:
    def newborn() -> None:
        bell.adopt()
        while True:
            bell.ringing()()

    for _ in range(20):
        with child(newborn) as pid:
            assert select.select([bell], [], [], 10.0)[0]
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        bell.drain()
        assert not is_ringing(bell)


def test_a_ring_is_one_byte_however_it_is_read(bell: Doorbell) -> None:
    waiting = array("i", [0])
    for rings in (1, 2, 3):
        bell.ringing()()
        fcntl.ioctl(bell.fileno(), termios.FIONREAD, waiting)
        assert waiting[0] == rings


# ── its ends ──
def test_a_closed_bell_has_no_ends_and_closes_none_of_another(bell: Doorbell) -> None:
    ends = bell.fileno(), bell.ring_fileno()
    bell.close()
    assert (bell.fileno(), bell.ring_fileno()) == (-1, -1)
    assert [is_open(fd) for fd in ends] == [False, False]
    other = os.pipe()  # the same numbers again
    assert sorted(other) == sorted(ends)
    bell.close()
    bell.adopt()
    assert [is_open(fd) for fd in other] == [True, True]
    for fd in other:
        os.close(fd)


def test_no_end_of_a_bell_survives_an_exec_or_blocks(bell: Doorbell) -> None:
    for fd in (bell.fileno(), bell.ring_fileno()):
        assert not os.get_inheritable(fd)
        assert not os.get_blocking(fd)


def test_a_bell_can_have_the_lowest_descriptor_of_all() -> None:
    def work() -> tuple[int, bool, int, bool]:
        os.close(0)
        bell = Doorbell()
        reader = bell.fileno()
        bell.adopt()
        return reader, is_open(reader), bell.fileno(), is_open(bell.ring_fileno())

    assert in_child(work) == (0, False, -1, True)
