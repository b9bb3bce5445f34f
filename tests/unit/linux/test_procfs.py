"""What /proc tells, compared with what is known otherwise."""

import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.linux import process, procfs, title
from ghostd.linux.title import set_title
from tests.support import needs_root, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause, wait_exited

NOBODY = 2**22 + 1  # above the highest pid that Linux gives


def test_a_process_that_is_not_there_has_no_answers() -> None:
    for ask in (procfs.start_ticks, procfs.parent, procfs.rss_bytes, procfs.private_bytes, procfs.switches):
        assert ask(NOBODY) is None
    assert not procfs.is_zombie(NOBODY)
    assert procfs.children(NOBODY) == procfs.descendants(NOBODY) == []


def test_the_start_of_a_process_is_told_in_ticks_since_boot() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with child(pause) as pid:
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        ticks = procfs.start_ticks(pid)
        assert ticks is not None
        assert before - 0.02 <= ticks / os.sysconf("SC_CLK_TCK") <= after + 0.02
        assert procfs.start_ticks(pid) == ticks


@pytest.mark.parametrize("name", ["a b) c", "(((", ") R 1 1 1", "", "x\ny"])
def test_a_name_made_to_mislead_does_not(name: str) -> None:
    def work() -> tuple[int | None, int]:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
        return procfs.parent(os.getpid()), os.getppid()

    found, right = in_child(work)
    assert found == right == os.getpid()


def test_the_boot_has_a_name_that_stays() -> None:
    assert len(procfs.boot_id()) == 36
    assert procfs.boot_id() == procfs.boot_id()


def test_threads_are_counted() -> None:
    def work() -> tuple[int, int, int]:
        done = threading.Event()
        alone = procfs.thread_count()
        thread = threading.Thread(target=done.wait)
        thread.start()
        two = procfs.thread_count()
        done.set()
        thread.join()
        wait_until(lambda: procfs.thread_count() == 1)
        return alone, two, procfs.thread_count()

    assert in_child(work) == (1, 2, 1)


def test_a_zombie_is_one_until_it_is_reaped() -> None:
    with child(lambda: 0) as pid:
        wait_exited(pid)
        assert procfs.is_zombie(pid)
        os.waitpid(pid, 0)
        assert not procfs.is_zombie(pid)
    assert not procfs.is_zombie(os.getpid())


def test_a_process_whose_first_thread_has_ended_still_runs() -> None:
    def work() -> None:
        threading.Thread(target=second).start()
        exit_of_one_thread = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
        process.load().syscall(exit_of_one_thread, 0, 0, 0)

    def second() -> None:
        gate.open()
        hold.wait()
        os._exit(0)

    with Gate() as gate, Gate() as hold, child(work) as pid:
        gate.wait()
        wait_until(lambda: (procfs._stat(pid) or [b""])[0] == b"Z", what="the end of the first thread")
        assert not procfs.is_zombie(pid)
        hold.open()
        wait_exited(pid)
        wait_until(lambda: procfs.is_zombie(pid))


def test_children_and_their_children_are_found() -> None:
    def work(gate: Gate) -> None:
        pid = os.fork()
        if pid == 0:
            gate.tell(os.getpid())
        pause()

    with Gate() as gate, child(lambda: work(gate)) as pid, child(lambda: 0) as ended:
        grandchild = gate.told()
        wait_exited(ended)
        assert {pid, ended} <= set(procfs.children(os.getpid()))
        assert grandchild not in procfs.children(os.getpid())
        assert procfs.children(pid) == procfs.descendants(pid) == [grandchild]
        found = procfs.descendants(os.getpid())
        assert found.index(pid) < found.index(grandchild)
        assert procfs.parent(grandchild) == pid
        os.kill(grandchild, signal.SIGKILL)


def _touch(mib: int) -> mmap.mmap:
    block = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.write(b"\1" * len(block))
    return block


@pytest.mark.parametrize("measure", [procfs.rss_bytes, procfs.private_bytes])
def test_memory_is_told_in_bytes(measure: Callable[[int], int | None]) -> None:
    def work() -> int:
        before = measure(os.getpid()) or 0
        block = _touch(20)
        grown = (measure(os.getpid()) or 0) - before
        block.close()
        return grown >> 20

    assert in_child(work) in (19, 20, 21)


def test_shared_memory_is_not_private() -> None:
    def work() -> int:
        return procfs.private_bytes(os.getpid()) or 0

    block = _touch(20)
    assert in_child(work) < 20 << 20
    block.close()


def test_each_sleep_is_counted() -> None:
    with Gate() as door, Gate() as answer:

        def work() -> None:
            while True:
                door.wait()
                answer.open()

        with child(work) as pid:
            before = procfs.switches(pid) or 0
            for _ in range(10):
                wait_until(lambda: (procfs._stat(pid) or [b""])[0] == b"S", what="the child asleep")
                door.open()
                answer.wait()
            assert (procfs.switches(pid) or 0) - before >= 10


@needs_root
def test_without_proc_it_knows_little_and_breaks_nothing(tmp_path: Path) -> None:
    def work() -> tuple[object, ...]:
        os.chroot(tmp_path)
        me = os.getpid()
        return procfs.thread_count(), procfs.boot_id(), procfs.start_ticks(me), procfs.is_zombie(me), procfs.parent(me)

    assert in_child(work) == (1, "", None, False, None)


# ── the title ──
def test_the_title_shows_in_proc() -> None:
    def work() -> bytes:
        set_title("ghostd: spirit 7")
        with open("/proc/self/cmdline", "rb") as file:
            return file.read().rstrip(b"\0")

    assert in_child(work) == b"ghostd: spirit 7"


def test_without_setproctitle_there_is_no_title_and_no_error() -> None:
    def work() -> None:
        sys.path.clear()
        title.setter.cache_clear()
        set_title("nothing")
        with open("/proc/self/cmdline", "rb") as file:
            assert b"nothing" not in file.read()

    in_child(work)
