"""The pidfile in good times: who saves, who removes, what is believed, and that the lock lives as long as it should."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ghostd.daemon.pidfile import FilePid
from ghostd.errors import DeniedError
from ghostd.linux import procfs
from tests.support import left_in, needs_root, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause


def started(path: Path) -> FilePid:
    return FilePid(path, autosave=True)


# ── saving, loading, removing ──
def test_the_first_line_is_the_pid_and_the_next_two_name_the_process_for_ever(path: Path) -> None:
    pidfile = started(path)
    assert path.read_text() == f"{os.getpid()}\n{procfs.start_ticks(os.getpid())}\n{procfs.boot_id()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert pidfile.load() == os.getpid() == pidfile.owner == pidfile.pid
    pidfile.remove()


def test_a_ghost_that_ends_in_order_leaves_nothing(path: Path) -> None:
    pidfile = started(path)
    assert left_in(path) == ["ghost.pid", "ghost.pid.lock"]
    assert pidfile.remove()
    assert left_in(path) == []
    assert not pidfile.remove()


def test_only_the_process_that_saved_removes(path: Path) -> None:
    pidfile = started(path)
    assert in_child(pidfile.remove) is False
    assert in_child(FilePid(path).remove) is False
    assert pidfile.running() == os.getpid() == pidfile.load()
    pidfile.remove()


def test_a_child_that_exits_normally_removes_nothing(path: Path) -> None:
    program = (
        "import os, sys\nfrom ghostd.daemon.pidfile import FilePid\n"
        f"pidfile = FilePid({str(path)!r}, auto=True)\n"
        "pid = os.fork()\n"
        "if pid == 0: sys.exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "assert pidfile.running() == os.getpid() == pidfile.load()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert left_in(path) == []  # the end of the program itself did


def test_only_its_own_file_is_removed(path: Path) -> None:
    pidfile = started(path)
    path.unlink()
    path.write_text("somebody else's\n")
    pidfile.remove()
    assert path.read_text() == "somebody else's\n"


def test_a_relative_path_is_made_absolute_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    pidfile = started(Path("ghost.pid"))
    monkeypatch.chdir("/")
    pidfile.remove()
    assert left_in(path) == []


def test_a_with_block_removes_what_it_saved(path: Path) -> None:
    with FilePid(path, auto=True) as pidfile:
        assert pidfile.load() == os.getpid()
    assert left_in(path) == []
    with FilePid(path, autosave=True) as pidfile:
        pass
    assert path.exists()
    pidfile.remove()


def test_the_pid_given_is_the_one_written(path: Path) -> None:
    pidfile = FilePid(path, os.getppid())
    pidfile.save()
    assert pidfile.load() == os.getppid()
    pidfile.remove()


def test_the_umask_is_heeded(path: Path) -> None:
    before = os.umask(0o077)
    try:
        pidfile = started(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    pidfile.remove()


@pytest.mark.parametrize(
    "text",
    ["", "\n", "abc\n", "0\n", "-1\n", "99999999999\n", "1.5\n", "\0\0\0", "12 34\n", "²\n", "1" * 5000],
    ids=repr,
)
def test_a_text_that_is_no_pid_names_nobody(path: Path, text: str) -> None:
    path.write_text(text)
    assert FilePid(path).load() is None
    assert FilePid(path).running() is None


def test_a_text_of_another_program_is_read_and_not_believed(path: Path) -> None:
    path.write_text(f"{os.getppid()}\n")
    assert FilePid(path).load() == os.getppid()
    assert FilePid(path).running() is None
    assert FilePid(path).is_left


# ── who is running ──
def test_every_process_sees_the_manager(path: Path) -> None:
    pidfile = started(path)
    assert pidfile.running() == FilePid(path).running() == os.getpid()
    assert in_child(pidfile.running) == in_child(FilePid(path).running) == os.getpid()
    pidfile.remove()
    assert pidfile.running() is None


def test_looking_does_not_take_the_lock_away(path: Path) -> None:
    # A POSIX lock is lost when its process closes any descriptor of the file.
    pidfile = started(path)
    for _ in range(3):
        other = FilePid(path)
        assert other.running() == other.holder() == os.getpid()
        assert not other.acquire(patience=0)
        assert not other.sweep()
        with pytest.raises(DeniedError, match=f"held by the running process {os.getpid()}"):
            other.save()
        del other
        gc.collect()
    assert in_child(FilePid(path).running) == os.getpid()
    pidfile.remove()


def test_a_second_start_leaves_the_first_ones_file_alone(path: Path) -> None:
    pidfile = started(path)
    before = path.read_text(), path.stat().st_ino

    def second() -> bool:
        other = FilePid(path)
        got = other.acquire(patience=0)
        other.remove()
        other.release()
        return got

    assert in_child(second) is False
    assert (path.read_text(), path.stat().st_ino) == before
    assert in_child(FilePid(path).running) == os.getpid()
    pidfile.remove()


def test_a_recycled_pid_is_not_believed(path: Path) -> None:
    with child(pause) as bystander:
        ticks = procfs.start_ticks(bystander)
        assert ticks is not None
        path.write_text(f"{bystander}\n{ticks - 1}\n{procfs.boot_id()}\n")  # the same number, begun at another time
        assert FilePid(path).running() is None
        path.write_text(f"{bystander}\n{ticks}\nanother-boot\n")
        assert FilePid(path).running() is None
        pidfile = started(path)
        assert pidfile.load() == os.getpid()
        pidfile.remove()


def test_a_forged_text_names_nobody_as_long_as_there_is_a_lock(path: Path) -> None:
    pidfile = started(path)
    with child(pause) as bystander:
        path.write_text(f"{bystander}\n{procfs.start_ticks(bystander)}\n{procfs.boot_id()}\n")
        assert FilePid(path).running() == os.getpid()
        pidfile.release()  # as if it were dead: the lock is free, and still the text names a living process
        assert FilePid(path).running() is None
        assert FilePid(path).manager() is None
    path.unlink()


@needs_root
def test_another_users_question_is_answered_by_the_text(path: Path) -> None:
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    pidfile = started(path)

    def ask() -> tuple[int | None, str]:
        pidfile.release()  # what a stranger has not inherited
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
        other = FilePid(path)
        with pytest.raises(DeniedError) as told:
            other.manager()
        return other.running(), str(told.value)

    pid, told = in_child(ask)
    assert pid == os.getpid()  # it may not be signalled, and yet it is alive
    assert "uid 65534" in told
    pidfile.remove()


# ── the life of the lock ──
def test_the_right_to_start_survives_the_daemonizing_forks(path: Path) -> None:
    with Gate() as gate, Gate() as end:
        pidfile = FilePid(path)
        assert pidfile.acquire()

        def daemon() -> None:
            if os.fork():
                os._exit(0)
            gate.tell(os.getpid())
            end.wait()
            os._exit(0 if pidfile.adopt_after_fork() else 1)

        with child(daemon) as middle:
            os.waitpid(middle, 0)
            pidfile.release()  # the starter is gone, the daemon not yet the manager
            pid = gate.told()
            assert FilePid(path).acquire(patience=0) is False
            assert FilePid(path).running() is None
            end.open()
            _, status = os.waitpid(pid, 0)  # adopted: this process is a subreaper
            assert status == 0
        assert FilePid(path).sweep()
        assert left_in(path) == []


def test_the_lock_ends_with_the_manager_though_a_spirit_lives_on(path: Path) -> None:
    with Gate() as gate:

        def manager() -> None:
            started(path)
            if os.fork() == 0:
                gate.tell(os.getpid())
                pause()  # a spirit that has inherited every descriptor and closes none
            pause()

        with child(manager) as pid:
            spirit = gate.told()
            try:
                assert FilePid(path).running() == pid
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: procfs.is_zombie(pid))  # not reaped: a zombie has ended
                assert FilePid(path).running() is None
                assert FilePid(path).is_left
                pidfile = started(path)
                assert FilePid(path).running() == os.getpid()
                pidfile.remove()
            finally:
                os.kill(spirit, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.waitpid(spirit, 0)


def test_the_end_of_a_spirit_does_not_end_the_lock(path: Path) -> None:
    pidfile = started(path)

    def spirit() -> None:
        pidfile.release()  # closes its copies

    in_child(spirit)
    in_child(lambda: None)
    assert in_child(FilePid(path).running) == os.getpid()
    pidfile.remove()


def test_a_loser_learns_the_winners_pid(path: Path) -> None:
    with Gate() as gate, Gate() as saved:

        def winner() -> None:
            pidfile = FilePid(path)
            assert pidfile.acquire()
            gate.open()
            saved.wait()
            pidfile.save()
            pause()

        with child(winner) as pid:
            gate.wait()
            loser = FilePid(path)
            assert not loser.acquire(patience=0)
            assert loser.wait_running(0.01) is None
            saved.open()
            assert loser.wait_running(10) == pid
        assert loser.wait_running(10) is None  # nobody starts it: no use in waiting
        loser.sweep()


def test_a_starter_that_gives_up_lets_the_next_one_start(path: Path) -> None:
    pidfile = FilePid(path)
    assert pidfile.acquire()
    assert pidfile.acquire()  # it has the right already
    assert not FilePid(path).acquire(patience=0)
    pidfile.release()
    assert in_child(FilePid(path).acquire) is True
    FilePid(path).sweep()
    assert left_in(path) == []
