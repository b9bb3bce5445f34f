"""Many start at the same moment: exactly one becomes the manager, and everybody else learns its pid."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from ghostd.daemon.pidfile import FilePid
from ghostd.linux import lock, procfs
from tests.support import wait_until
from tests.unit.linux.forks import Gate, child

STARTERS = 16
ROUNDS = 12


def start(path: Path, begin: int, seed: int, tell: int) -> None:
    """A starter with its daemon, in the way that the ghost does it; tells its own and the manager's pid."""
    chance = random.Random(seed)
    os.read(begin, 1)  # nobody writes: the end of file lets all go at once
    pidfile = FilePid(path)
    if not pidfile.acquire(patience=chance.choice((0.0, 0.05))):
        os.write(tell, b"lost %d\n" % (pidfile.wait_running(10) or 0))
        os._exit(0)
    pid = os.fork()
    if pid == 0:
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.01)
        if not pidfile.adopt_after_fork():
            os.write(tell, b"late %d\n" % (pidfile.running() or 0))
            os._exit(1)
        pidfile.save()
        os.write(tell, b"won %d\n" % os.getpid())
        signal.pause()
    if chance.random() < 0.5:
        pidfile.release()
    os._exit(0)


@pytest.mark.parametrize("leftover", ["nothing", "dead", "lock", "text"])
def test_of_many_simultaneous_starters_exactly_one_wins(tmp_path: Path, leftover: str) -> None:
    path = tmp_path / "ghost.pid"
    for turn in range(ROUNDS):
        if leftover == "lock":
            path.with_suffix(".pid.lock").touch(mode=0o600)
        elif leftover == "text":
            path.write_text(f"{os.getpid()}\n")
        words = one_round(path, turn)
        winners = [pid for word, pid in words if word == "won"]
        losers = [pid for word, pid in words if word != "won"]
        assert len(winners) == 1, words
        assert len(losers) == STARTERS - 1
        assert set(losers) <= {winners[0]}, words
        assert FilePid(path).running() == winners[0] == FilePid(path).load()
        os.kill(winners[0], signal.SIGKILL)
        wait_until(lambda: FilePid(path).running() is None)
        os.waitpid(winners[0], 0)
        if leftover != "dead":
            assert FilePid(path).sweep()
            assert list(tmp_path.iterdir()) == []


def one_round(path: Path, turn: int) -> list[tuple[str, int]]:
    """What each starter, or the daemon of the one that won, has to tell."""
    begin, release = os.pipe()
    listen, tell = os.pipe()
    starters = []
    for number in range(STARTERS):
        pid = os.fork()
        if pid == 0:
            os.close(release)
            try:
                start(path, begin, turn * STARTERS + number, tell)
            finally:
                os._exit(70)
        starters.append(pid)
    os.close(begin)
    os.close(tell)
    os.close(release)
    told = b""
    while told.count(b"\n") < STARTERS:
        heard = os.read(listen, 4096)
        assert heard, told
        told += heard
    os.close(listen)
    for pid in starters:
        assert os.waitpid(pid, 0)[1] == 0
    return [(word, int(pid)) for word, pid in (line.split() for line in told.decode().splitlines())]


def test_starting_and_ending_in_order_never_leaves_two(tmp_path: Path) -> None:
    """Each of several loops: start, be the manager for a moment, end. Nobody ever meets another manager."""
    path = tmp_path / "ghost.pid"
    inside = tmp_path / "inside"
    stop_at = time.monotonic() + 2.0

    def loop() -> int:
        turns = 0
        while time.monotonic() < stop_at:
            pidfile = FilePid(path)
            if not pidfile.acquire(patience=0.0):
                continue
            if not pidfile.adopt_after_fork():
                pidfile.release()
                continue
            pidfile.save()
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails when another is inside
            assert pidfile.load() == os.getpid()
            assert FilePid(path).running() == os.getpid()
            os.unlink(inside)
            assert pidfile.remove()
            turns += 1
        return min(turns, 60)

    pids = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = loop()
            finally:
                os._exit(code)
        pids.append(pid)
    turns = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert all(0 <= one <= 60 for one in turns), turns
    assert sum(turns) > 10
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_removed_as_it_is_taken_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ghost.pid"
    really, removals = lock.try_lock, iter([True, True, False])

    def late(fd: int) -> bool:
        if next(removals):
            os.unlink(f"{path}.lock")
        return really(fd)

    monkeypatch.setattr(lock, "try_lock", late)
    pidfile = FilePid(path)
    assert pidfile.acquire()
    assert next(removals, None) is None
    pidfile.save()
    assert FilePid(path).holder() == os.getpid()
    pidfile.remove()


def test_who_becomes_the_manager_at_the_last_moment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ghost.pid"
    really = lock.try_lock
    with Gate() as go, Gate() as saved:

        def first() -> None:
            go.wait()
            FilePid(path).save()
            saved.open()
            signal.pause()

        with child(first) as pid:

            def late(fd: int) -> bool:
                go.open()
                saved.wait()  # between our first look and our lock
                return really(fd)

            monkeypatch.setattr(lock, "try_lock", late)
            assert not FilePid(path).acquire(patience=0.0)
            assert FilePid(path).holder() == pid
    monkeypatch.undo()
    assert FilePid(path).sweep()


def test_a_starter_killed_at_the_worst_moment_leaves_one_manager_at_most(tmp_path: Path) -> None:
    path = tmp_path / "ghost.pid"
    with Gate() as born, Gate() as go:

        def starter() -> None:
            pidfile = FilePid(path)
            assert pidfile.acquire()
            if os.fork() == 0:
                born.tell(os.getpid())
                go.wait()
                os._exit(10 if pidfile.adopt_after_fork() else 11)
            signal.pause()

        with child(starter) as pid:
            daemon = born.told()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: procfs.is_zombie(pid))
            # The daemon has inherited the right to start, so no other gets it.
            assert not FilePid(path).acquire(patience=0.0)
            go.open()
            assert os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1]) == 10
    assert FilePid(path).sweep()
