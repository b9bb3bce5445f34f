"""The life pipe: its end becomes a signal to each child that follows it, though none of them looks."""

import os
import resource
import signal
from pathlib import Path

from ghostd.linux import fds
from ghostd.linux.life import LifePipe
from tests.support import is_alive, is_open, needs_root, wait_gone
from tests.unit.linux.forks import Gate, child, in_child, pause, wait_exited


def _lay(pipe: LifePipe) -> None:
    """Have a description for one child at its number."""
    (fd,) = laid = pipe.lay(1)
    os.dup2(fd, pipe.end, inheritable=False)
    pipe.clear(laid)


def _family(gate: Gate, told: Gate, user: int = 0) -> None:
    """Have three children that follow this process, tell the pid of each, and wait for the end."""
    pipe = LifePipe(signal.SIGUSR1)
    for _ in range(3):
        _lay(pipe)
        if os.fork() == 0:
            os.close(pipe._writer)
            pipe.following()(os.getpid())
            if user:
                os.setresuid(user, user, user)
            told.tell(os.getpid())
            pause()
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
    def leader(pipe: LifePipe, told: Gate, heard: Gate) -> None:
        os.setpgid(0, 0)
        pipe.following()(-os.getpid())
        for leaves in (False, True):
            if os.fork() == 0:
                os.close(pipe.end)
                if leaves:
                    os.setsid()
                told.tell(os.getpid())
                pause()
            heard.wait()
        told.tell(os.getpid())
        pause()

    def parent(told: Gate, heard: Gate) -> None:
        pipe = LifePipe(signal.SIGUSR1)
        _lay(pipe)
        if os.fork() == 0:
            os.close(pipe._writer)
            leader(pipe, told, heard)
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
        pipe = LifePipe(signal.SIGUSR1)
        second = os.dup(pipe._writer)
        _lay(pipe)
        pipe.following()(os.getpid())
        os.close(pipe._writer)
        before = len(heard)
        os.close(second)
        return [before, len(heard)]

    assert in_child(work) == [0, 1]


@needs_root
def test_without_proc_there_is_no_life_pipe_and_no_error(tmp_path: Path) -> None:
    def work() -> bool:
        heard: list[int] = []
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
        pipe = LifePipe(signal.SIGUSR1)
        _lay(pipe)
        before = [fd for fd in range(200) if is_open(fd)]
        os.chroot(tmp_path)
        _lay(pipe)
        pipe.following()(os.getpid())
        os.close(pipe._writer)
        assert not heard
        assert os.read(pipe.end, 1) == b""
        return [fd for fd in range(200) if is_open(fd)] == [fd for fd in before if fd != pipe._writer]

    assert in_child(work)


def test_a_pipe_that_is_closed_leaves_nothing() -> None:
    before = fds.census()
    pipe = LifePipe(signal.SIGUSR1)
    _lay(pipe)
    assert not os.get_inheritable(pipe.end)
    pipe.close()
    assert fds.census() == before


def test_when_no_more_can_be_open_the_pipe_itself_is_what_is_laid() -> None:
    def work() -> None:
        pipe = LifePipe(signal.SIGUSR1)
        before = fds.census()
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 2, max(before) + 2))
        laid = pipe.lay(5)
        assert len(laid) == 5
        pipe.clear(laid)
        assert fds.census() == before

    in_child(work)
