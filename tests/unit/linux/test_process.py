"""Calls that Python has no name for, each with what it is for."""

import ctypes
import errno
import faulthandler
import os
import resource
import signal

import pytest

from ghostd.linux import process
from ghostd.linux.page import PAGE
from tests.support import needs_root, wait_gone
from tests.unit.linux.forks import Gate, child, in_child, pause, wait_exited


def test_a_child_dies_with_its_parent() -> None:
    def parent() -> None:
        pid = os.fork()
        if pid == 0:
            process.dying_with_parent(signal.SIGKILL)()
            gate.tell(os.getpid())
        pause()

    with Gate() as gate, child(parent) as pid:
        grandchild = gate.told()
        os.kill(pid, signal.SIGKILL)
        wait_exited(pid)
        wait_gone(grandchild)


def test_a_subreaper_gets_the_orphans_until_it_gives_it_up() -> None:
    def orphan(adopt: bool) -> bool:
        process.become_subreaper(adopt)
        with Gate() as gate, Gate() as hold:
            with child(lambda: _have_child(gate, hold)) as pid:
                grandchild = gate.told()
                os.waitpid(pid, 0)
            hold.open()
            try:
                return os.waitpid(grandchild, 0)[0] == grandchild
            except ChildProcessError:
                return False

    assert in_child(lambda: (orphan(True), orphan(False))) == (True, False)


def test_a_subreaper_is_known_for_one_and_its_child_is_none() -> None:
    def told() -> tuple[bool, bool, bool]:
        before = process.is_subreaper()
        process.become_subreaper()
        return before, process.is_subreaper(), in_child(process.is_subreaper)

    assert in_child(told) == (False, True, False)


def _have_child(gate: Gate, hold: Gate) -> None:
    pid = os.fork()
    if pid == 0:
        hold.wait()
        os._exit(0)
    gate.tell(pid)


def test_memory_can_be_closed_to_others_and_opened() -> None:
    def work() -> list[bool]:
        told = []
        for dumpable in (False, True):
            process.set_dumpable(dumpable)
            told.append(process.is_dumpable())
        return told

    assert in_child(work) == [False, True]


@needs_root
def test_no_capability_is_kept() -> None:
    def work() -> set[int]:
        process.drop_capabilities()
        with open("/proc/self/status", encoding="ascii") as status:
            caps = [line.split() for line in status if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]
        assert len(caps) == 4
        return {int(value, 16) for _, value in caps}

    assert in_child(work) == {0}


def test_a_call_that_fails_says_which_and_why() -> None:
    with pytest.raises(OSError, match="munmap: Invalid argument") as caught:
        process.unmap(1, PAGE)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="mmap: Bad file descriptor"):
        process.map_shared(9999, 0, PAGE)
    with pytest.raises(OSError, match="madvise: "):
        process.keep_from_children(1, PAGE)
    with pytest.raises(OSError, match="mremap: "):
        process.map_again(1, PAGE, PAGE)
    assert process.dying_with_parent(9999)() == -1, "what a newborn calls says no more"


def test_a_map_kept_from_children_is_not_there_in_them() -> None:
    address = process.map_shared(-1, 0, PAGE)
    process.keep_from_children(address, PAGE)
    ctypes.memset(address, 1, PAGE)

    def touch() -> None:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(address, 1)

    with child(touch) as pid:
        assert os.waitpid(pid, 0)[1] & 0x7F == signal.SIGSEGV
    process.unmap(address, PAGE)


def test_memory_put_in_the_place_of_shared_memory_is_seen_by_nobody_else() -> None:
    def work() -> None:
        process.map_private_over(address, PAGE)
        ctypes.memset(address, 2, PAGE)

    address = process.map_shared(-1, 0, PAGE)
    ctypes.memset(address, 1, PAGE)
    in_child(work)
    assert ctypes.string_at(address, 2) == b"\1\1"
    process.unmap(address, PAGE)
