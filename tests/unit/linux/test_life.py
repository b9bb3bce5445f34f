"""The life pipe: its end becomes a signal to each child that follows it, though none of them looks."""

import os
import signal
from pathlib import Path

from ghostd.linux import fds, life
from tests.support import is_alive, needs_root, wait_gone
from tests.unit.linux.forks import Gate, child, in_child, pause, wait_exited


def _family(gate: Gate, told: Gate, user: int = 0) -> None:
    """Have three children that follow this process, tell the pid of each, and wait for the end."""
    reader, writer = fds.pipe_cloexec()
    for _ in range(3):
        fd = life.lay(reader, signal.SIGUSR1)
        assert fd >= 0
        if os.fork() == 0:
            os.close(writer)
            life.follow(fd)
            if user:
                os.setresuid(user, user, user)
            told.tell(os.getpid())
            pause()
        os.close(fd)
        gate.wait()
    pause()


def _end_of_a_family(user: int = 0) -> None:
    with Gate() as gate, Gate() as told, child(lambda: _family(gate, told, user)) as pid:
        children = []
        for _ in range(3):
            children.append(told.told())
            gate.open()
        os.kill(pid, signal.SIGKILL)
        wait_exited(pid)
        wait_gone(*children)


def test_each_child_hears_of_the_end_of_its_parent() -> None:
    _end_of_a_family()


@needs_root
def test_a_child_that_became_another_user_hears_of_it_too() -> None:
    _end_of_a_family(user=65534)


def test_the_group_that_a_child_leads_hears_of_it_and_who_has_left_the_group_does_not() -> None:
    def leader(fd: int, told: Gate, heard: Gate) -> None:
        os.setpgid(0, 0)
        life.follow(fd)
        for leaves in (False, True):
            if os.fork() == 0:
                os.close(fd)
                if leaves:
                    os.setsid()
                told.tell(os.getpid())
                pause()
            heard.wait()
        told.tell(os.getpid())
        pause()

    def parent(told: Gate, heard: Gate) -> None:
        reader, writer = fds.pipe_cloexec()
        fd = life.lay(reader, signal.SIGUSR1)
        if os.fork() == 0:
            os.close(writer)
            leader(fd, told, heard)
        pause()

    with Gate() as told, Gate() as heard, child(lambda: parent(told, heard)) as pid:
        family = []
        for _ in range(3):
            family.append(told.told())
            heard.open()
        left = [one for one in family if os.getsid(one) == one]
        os.kill(pid, signal.SIGKILL)
        wait_exited(pid)
        wait_gone(*(set(family) - set(left)))
        assert len(left) == 1
        assert is_alive(left[0])
        os.kill(left[0], signal.SIGKILL)
        wait_gone(left[0])


def test_a_child_hears_nothing_while_another_writer_lives() -> None:
    def work() -> list[int]:
        heard: list[int] = []
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
        reader, writer = fds.pipe_cloexec()
        second = os.dup(writer)
        life.follow(life.lay(reader, signal.SIGUSR1))
        os.close(writer)
        before = len(heard)
        os.close(second)
        return [before, len(heard)]

    assert in_child(work) == [0, 1]


@needs_root
def test_without_proc_there_is_no_life_pipe_and_no_error(tmp_path: Path) -> None:
    def work() -> tuple[int, bool]:
        reader, _writer = fds.pipe_cloexec()
        before = os.dup(reader)
        os.close(before)
        os.chroot(tmp_path)
        fd = life.lay(reader, signal.SIGUSR1)
        life.follow(fd)
        return fd, os.dup(reader) == before  # nothing was left open

    assert in_child(work) == (-1, True)
