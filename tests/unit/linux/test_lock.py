"""A file that one process alone can hold: nobody tricks it open, one wins, and the kernel names who."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.linux.lock import NotRegularError, holder, is_locked, open_regular, sign, try_lock, unlock, unsign
from tests.support import needs_root, wait_until
from tests.unit.linux.forks import Gate, child, in_child, pause

CREATE = os.O_RDWR | os.O_CREAT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ghost.pid"


def look(path: Path) -> tuple[bool, int | None]:
    """What another open file says: whether it is locked, and by whom."""
    fd = open_regular(path, os.O_RDONLY)
    try:
        return is_locked(fd), holder(fd)
    finally:
        os.close(fd)


def look_from_outside(path: Path) -> tuple[bool, int | None]:
    """The same, by a process that may open and close the file as it likes."""
    found: tuple[bool, int | None] = in_child(lambda: look(path))
    return found


# ── opening ──
def test_a_regular_file_is_opened_and_made(path: Path) -> None:
    fd = open_regular(path, CREATE, 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    os.write(fd, b"text")
    os.close(fd)
    fd = open_regular(path, os.O_RDONLY)
    assert os.read(fd, 10) == b"text"
    os.close(fd)


def _link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.symlink_to(victim)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("made by a trick"))


def _hard_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.hardlink_to(victim)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


PLANTS: list[tuple[Callable[[Path], object], str]] = [
    (_link, "it is a symbolic link"),
    (_dangling, "it is a symbolic link"),
    (_hard_link, r"it is a file with 2 names \(hard links\)"),
    (Path.mkdir, "it is a directory"),
    (os.mkfifo, "it is a fifo"),
    (_socket, "it is a socket"),
]


@pytest.mark.parametrize(("plant", "message"), PLANTS)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, CREATE])
def test_anything_else_is_refused_at_once_and_not_touched(
    path: Path, plant: Callable[[Path], object], message: str, flags: int
) -> None:
    plant(path)
    before = {one.name: one.lstat() for one in path.parent.iterdir()}
    with pytest.raises(NotRegularError, match=message) as caught:
        open_regular(path, flags)
    assert caught.value.filename == str(path)
    after = {one.name: one.lstat() for one in path.parent.iterdir()}
    assert {name: (s.st_ino, s.st_mtime_ns, s.st_mode) for name, s in after.items()} == {
        name: (s.st_ino, s.st_mtime_ns, s.st_mode) for name, s in before.items()
    }


@needs_root
def test_a_device_is_refused(path: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    with pytest.raises(NotRegularError, match="it is a device"):
        open_regular(path, os.O_RDWR)


def test_a_file_removed_while_it_is_opened_is_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    fstat = os.fstat

    def remove_first(fd: int) -> os.stat_result:
        path.unlink(missing_ok=True)
        return fstat(fd)

    monkeypatch.setattr(os, "fstat", remove_first)
    with pytest.raises(FileNotFoundError):
        open_regular(path, os.O_RDWR)


def test_errors_of_the_system_are_told_as_they_are(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(path, os.O_RDWR)
    path.touch()
    with pytest.raises(FileExistsError):
        open_regular(path, CREATE | os.O_EXCL)
    with pytest.raises(NotADirectoryError):
        open_regular(path / "x", CREATE)


def test_a_refusal_leaves_no_descriptor_open(path: Path) -> None:
    def work() -> None:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(NotRegularError):
            open_regular(path, os.O_RDONLY)
        assert os.listdir("/proc/self/fd") == before

    os.mkfifo(path)
    in_child(work)


def test_emptying_a_file_before_it_is_known_is_refused(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(AssertionError):
        open_regular(path, os.O_RDWR | os.O_TRUNC)
    assert path.read_text() == "precious"


# ── one wins ──
def test_a_lock_is_held_once_in_one_process_too(path: Path) -> None:
    first, second = open_regular(path, CREATE), open_regular(path, CREATE)
    assert try_lock(first)
    assert try_lock(first), "it has it already"
    assert not try_lock(second)
    assert is_locked(second)
    assert not is_locked(first)
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_of_many_starters_exactly_one_wins(path: Path) -> None:
    def start() -> int:
        go.wait()
        fd = open_regular(path, CREATE)
        won = try_lock(fd)
        done.open()
        stay.wait()
        return int(won)

    starters = 12
    for _ in range(3):
        with Gate() as go, Gate() as done, Gate() as stay:
            pids = []
            for _ in range(starters):
                pid = os.fork()
                if pid == 0:
                    os._exit(start())
                pids.append(pid)
            for gate in (go, done, stay):
                for _ in pids:
                    gate.wait() if gate is done else gate.open()
            assert sum(os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in pids) == 1


def test_the_lock_ends_when_its_process_is_killed(path: Path) -> None:
    def hold() -> None:
        fd = open_regular(path, CREATE)
        assert try_lock(fd)
        assert sign(fd)
        gate.open()
        pause()

    with Gate() as gate, child(hold) as pid:
        gate.wait()
        assert look(path) == (True, pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert look(path) == (False, None)


def test_other_threads_may_open_and_close_the_file(path: Path) -> None:
    fd = open_regular(path, CREATE)
    assert try_lock(fd)
    thread = threading.Thread(target=lambda: os.close(os.open(path, os.O_RDONLY)))
    thread.start()
    thread.join()
    assert look(path)[0]
    os.close(fd)


def test_a_lock_can_be_given_back_although_a_child_inherited_it(path: Path) -> None:
    fd = open_regular(path, CREATE)
    assert try_lock(fd)
    assert sign(fd)
    with child(pause):
        unlock(fd)
        assert look_from_outside(path) == (False, os.getpid())
        unsign(fd)
        assert look_from_outside(path) == (False, None)
    os.close(fd)


def test_a_file_system_without_locks_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        try_lock(9999)
    with open("/dev/null", "rb") as file, pytest.raises(OSError) as caught:
        try_lock(file.fileno())  # not open for writing
    assert caught.value.errno == errno.EBADF


# ── who ──
def test_the_lock_passes_the_forks_of_a_daemon_and_the_daemon_signs(path: Path) -> None:
    """Starter locks, forks twice and ends; the daemon signs. At no moment can another take it."""

    def starter(gate: Gate) -> None:
        fd = open_regular(path, CREATE)
        assert try_lock(fd)
        if os.fork() == 0:
            if os.fork() == 0:
                gate.tell(os.getpid() if sign(fd) else 0)
                pause()
            os._exit(0)

    with Gate() as gate:
        with child(lambda: starter(gate)) as pid:
            os.waitpid(pid, 0)
        daemon = gate.told()
        assert look_from_outside(path) == (True, daemon)
        os.kill(daemon, signal.SIGKILL)
        wait_until(lambda: look(path) == (False, None))


def test_an_unsigned_lock_has_no_named_holder(path: Path) -> None:
    fd = open_regular(path, CREATE)
    assert try_lock(fd)
    assert look(path) == (True, None)
    os.close(fd)


def test_who_signed_is_told_to_itself_too(path: Path) -> None:
    fd = open_regular(path, CREATE)
    assert sign(fd)
    assert holder(fd) == os.getpid()
    os.close(fd)


def test_a_second_signature_is_refused_while_the_first_one_stands(path: Path) -> None:
    fd = open_regular(path, CREATE)
    assert sign(fd)
    assert not in_child(lambda: sign(fd))
    unsign(fd)
    assert in_child(lambda: sign(fd))
    os.close(fd)


def test_a_child_of_the_holder_is_not_the_holder(path: Path) -> None:
    """Nor does it hold the lock once it has closed the descriptor, whatever becomes of its parent."""

    def hold() -> None:
        fd = open_regular(path, CREATE)
        assert try_lock(fd)
        assert sign(fd)
        pid = os.fork()
        if pid == 0:
            os.close(fd)
            gate.tell(os.getpid())
        pause()

    with Gate() as gate, child(hold) as pid:
        spirit = gate.told()
        assert look(path) == (True, pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert look(path) == (False, None)
        os.kill(spirit, signal.SIGKILL)  # an orphan of ours, unreaped


def test_the_signature_is_lost_when_its_process_closes_the_file_elsewhere_and_the_lock_is_not(path: Path) -> None:
    fd = open_regular(path, CREATE)
    assert try_lock(fd)
    assert sign(fd)
    os.close(os.open(path, os.O_RDONLY))
    assert look(path) == (True, None)
    assert sign(fd), "it can be given again"
    assert look_from_outside(path) == (True, os.getpid())
    os.close(fd)


def test_a_reader_cannot_pose_as_the_holder(path: Path) -> None:
    import fcntl

    def pose() -> None:
        fd = os.open(path, os.O_RDONLY)
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        gate.open()
        pause()

    open_regular(path, CREATE)
    with Gate() as gate, child(pose):
        gate.wait()
        assert look(path) == (False, None)
