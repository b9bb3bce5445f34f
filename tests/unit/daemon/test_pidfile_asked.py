"""The pidfile, asked at each step of a start: who may go on, and what the others are told."""

import os
import signal
import time
from pathlib import Path

import pytest

from ghostd.daemon.lock import GhostLock
from ghostd.daemon.pidfile import FilePid
from ghostd.errors import DeniedError, SystemFault, UserError
from ghostd.linux import fds
from tests.support import deadline, left_in, needs_root
from tests.unit.linux.forks import Gate, child, in_child, pause

NOBODY = 65534


def become_nobody(path: Path) -> None:
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    os.setgroups([])
    os.setresuid(NOBODY, NOBODY, NOBODY)


# ── the manager, for who would signal it ──
@pytest.mark.parametrize("use_pidfd", [True, False])
def test_a_manager_is_signalled_and_its_pid_is_told(path: Path, use_pidfd: bool) -> None:
    def manager() -> None:
        FilePid(path, autosave=True)
        saved.open()
        pause()

    with Gate() as saved, child(manager) as pid:
        saved.wait()
        handle = FilePid(path).manager(use_pidfd=use_pidfd)
        assert handle is not None
        with handle:
            assert (handle.pid, handle.has_ended()) == (pid, False)
            assert (handle._fd >= 0) == use_pidfd
        assert FilePid(path).signal(signal.SIGTERM) == pid
        assert os.waitpid(pid, 0)[1] == signal.SIGTERM
    assert FilePid(path).signal(signal.SIGTERM) == 0
    assert FilePid(path).manager() is None


def test_a_handle_is_a_pidfd_where_nothing_else_is_said(path: Path) -> None:
    pidfile = FilePid(path, autosave=True)
    handle = pidfile.manager()
    assert handle is not None
    assert (handle.pid, handle._fd >= 0) == (os.getpid(), True)
    handle.close()
    pidfile.remove()


def test_a_manager_without_its_lock_is_named_and_what_to_do(path: Path) -> None:
    pidfile = FilePid(path, autosave=True)
    Path(f"{path}.lock").unlink()
    with pytest.raises(DeniedError) as told:
        FilePid(path).signal(signal.SIGTERM)
    assert str(told.value) == (
        f"process {os.getpid()} is named by {path}, but nobody holds the lock beside it, so it is not signalled; "
        f"make sure that it is the ghost, then: kill -QUIT {os.getpid()}"
    )
    pidfile.remove()


def test_a_lock_that_is_none_is_an_error_that_names_it(path: Path) -> None:
    os.mkfifo(f"{path}.lock")
    asked = FilePid(path)
    for call in (asked.holder, asked.running, asked.acquire, asked.manager):
        with pytest.raises(DeniedError, match=rf"^{path}\.lock: .* a fifo"):
            call()


# ── what a process has open ──
def test_it_tells_the_descriptors_that_it_has_and_asking_opens_none(path: Path) -> None:
    pidfile, before = FilePid(path), fds.census()
    assert pidfile.descriptors() == ()
    assert pidfile.acquire()
    assert [fds.census()[fd] for fd in pidfile.descriptors()] == [f"{path}.lock"]
    pidfile.save()
    pidfile.save()
    assert [fds.census()[fd] for fd in pidfile.descriptors()] == [f"{path}.lock", str(path)]
    opened = fds.census()
    assert FilePid(path).running() == FilePid(path).holder() == os.getpid()
    assert isinstance(FilePid(path).refusal(), UserError)
    assert fds.census() == opened
    pidfile.remove()
    assert (pidfile.descriptors(), pidfile.owner) == ((), None)
    assert fds.census() == before


@pytest.mark.parametrize("is_lock", [True, False], ids=["the lock", "the file"])
def test_a_file_can_have_the_lowest_descriptor_of_all(path: Path, is_lock: bool) -> None:
    def ghost() -> None:
        pidfile = FilePid(path)
        if is_lock:
            os.close(0)
        assert pidfile.acquire()
        if not is_lock:
            os.close(0)
        pidfile.save()
        assert pidfile.descriptors()[0 if is_lock else 1] == 0
        assert in_child(FilePid(path).running) == os.getpid() == pidfile.holder()
        assert not FilePid(path).acquire(patience=0)
        assert not pidfile.restore()
        path.unlink()
        assert pidfile.restore()
        Path(f"{path}.lock").unlink()
        assert pidfile.restore()
        assert left_in(path) == ["ghost.pid", "ghost.pid.lock"]
        assert pidfile.remove()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)

    in_child(ghost)
    assert left_in(path) == []


def test_who_asks_by_the_lowest_descriptor_is_told_as_well(path: Path, starter: FilePid) -> None:
    def ask() -> tuple[int | None, str]:
        starter.release()  # what a stranger has not inherited
        os.close(0)
        before = fds.census()
        told = FilePid(path).holder(), str(FilePid(path).refusal())
        assert fds.census() == before
        return told

    assert in_child(ask) == (None, f"already being started (pidfile {path}): stop that one first")
    assert starter.adopt_after_fork()
    assert in_child(ask) == (
        os.getpid(),
        f"already running with pid {os.getpid()} (pidfile {path}): stop that one first",
    )


# ── becoming the manager ──
def test_who_is_the_manager_cannot_start_again_nor_can_anybody_by_its_lock(path: Path) -> None:
    pidfile = FilePid(path, autosave=True)
    assert not pidfile.acquire()
    assert not FilePid(path).acquire()
    assert not GhostLock(f"{path}.lock").try_start()
    assert in_child(FilePid(path).running) == os.getpid()
    pidfile.remove()


def test_who_may_not_start_is_told_after_its_patience_and_by_default_soon(path: Path, starter: FilePid) -> None:
    with deadline(0.9):
        assert not FilePid(path).acquire()
    begun = time.monotonic()
    assert not FilePid(path).acquire(patience=0.1)
    assert time.monotonic() - begun >= 0.1
    assert starter.adopt_after_fork()


def test_who_becomes_the_manager_is_itself_unless_another_pid_is_given(path: Path, starter: FilePid) -> None:
    starter.pid = 4242
    assert starter.adopt_after_fork()
    assert (starter.pid, starter.owner) == (os.getpid(), os.getpid())
    starter.release()
    other = FilePid(path)
    assert other.acquire()
    assert other.adopt_after_fork(4242)
    other.save()
    assert (other.pid, other.owner, other.load()) == (4242, os.getpid(), 4242)
    other.remove()


def test_a_starter_whose_daemon_is_the_manager_does_not_become_it_as_well(path: Path, starter: FilePid) -> None:
    def daemon() -> None:
        assert starter.adopt_after_fork()
        signed.open()
        pause()

    with Gate() as signed, child(daemon) as pid:
        signed.wait()
        assert not starter.adopt_after_fork()
        assert starter.owner is None
        assert str(starter.refusal()) == f"already running with pid {pid} (pidfile {path}): stop that one first"


def test_a_start_whose_lock_was_removed_does_not_go_on(path: Path, starter: FilePid) -> None:
    Path(f"{path}.lock").unlink()
    assert not starter.adopt_after_fork()
    assert (starter.owner, starter.descriptors()) == (None, ())
    refused = starter.refusal()
    assert isinstance(refused, SystemFault)
    assert str(refused) == f"{path}.lock was removed while the ghost was starting: start it again"


def test_a_lock_that_cannot_be_signed_is_a_fault_that_names_it(path: Path, starter: FilePid) -> None:
    def adopt() -> str:
        os.close(starter.descriptors()[0])
        with pytest.raises(SystemFault) as told:
            starter.adopt_after_fork()
        return str(told.value)

    assert in_child(adopt) == f"{path}.lock cannot be used: Bad file descriptor"


def test_to_ask_who_starts_takes_nothing_from_the_starter(path: Path, starter: FilePid) -> None:
    (fd,) = starter.descriptors()
    for one in (starter, FilePid(path)):
        assert one.wait_running(0.0) is None
        assert isinstance(one.refusal(), SystemFault), "it asks by the descriptor that has the lock: nobody else starts"
    assert os.fstat(fd).st_ino == Path(f"{path}.lock").stat().st_ino
    assert starter.adopt_after_fork()


def test_the_file_is_not_saved_while_somebody_else_is_starting(path: Path, starter: FilePid) -> None:
    def save() -> str:
        starter.release()
        with pytest.raises(DeniedError) as told:
            FilePid(path).save()
        return str(told.value)

    assert in_child(save) == f"pidfile {path} is held by the running process of somebody else"
    assert left_in(path) == ["ghost.pid.lock"]


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(path: Path, starter: FilePid) -> None:
    path.with_name("ghost.pid.new").mkdir()
    with pytest.raises(DeniedError, match=rf"^{path} cannot be used by uid {os.geteuid()} \(Is a directory\): give it"):
        starter.save()
    assert left_in(path) == ["ghost.pid.lock", "ghost.pid.new"]


# ── a ghost in the foreground, which can do without ──
def test_a_ghost_that_can_have_a_pidfile_has_one(path: Path) -> None:
    for is_wanted in (True, False):
        pidfile = FilePid(path)
        assert pidfile.acquire_to_run(is_wanted=is_wanted)
        assert (pidfile.missing, len(pidfile.descriptors())) == ("", 1)
        assert not pidfile.is_out_of_reach()
        pidfile.release()


def test_where_no_file_can_be_made_a_ghost_goes_on_without_unless_one_is_wanted(tmp_path: Path) -> None:
    pidfile = FilePid(tmp_path / "none" / "ghost.pid")
    assert pidfile.is_out_of_reach()
    with pytest.raises(UserError) as told:
        pidfile.acquire_to_run(is_wanted=True)
    assert pidfile.missing == ""
    assert pidfile.acquire_to_run(is_wanted=False)
    assert pidfile.missing == str(told.value)
    assert pidfile.descriptors() == ()


@pytest.mark.parametrize("name", ["ghost.pid", "ghost.pid.lock"])
def test_what_lies_in_the_place_is_within_reach_and_an_error_though_none_is_wanted(path: Path, name: str) -> None:
    path.with_name(name).symlink_to("nowhere")
    pidfile = FilePid(path)
    assert not pidfile.is_out_of_reach()
    with pytest.raises(DeniedError):
        pidfile.acquire_to_run(is_wanted=False)
    assert pidfile.missing == ""


@needs_root
@pytest.mark.parametrize("name", ["", "ghost.pid", "ghost.pid.lock"])
def test_a_directory_of_another_user_is_out_of_reach_when_there_is_nothing_in_it(path: Path, name: str) -> None:
    if name:
        path.with_name(name).touch()

    def ask() -> bool:
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
            folder.chmod(0o755)
        os.seteuid(NOBODY)  # and still root by its real uid
        return FilePid(path).is_out_of_reach()

    assert in_child(ask) == (not name)
    assert not FilePid(path).is_out_of_reach()


@needs_root
def test_who_may_not_ask_the_lock_does_not_wait_for_a_start(path: Path, starter: FilePid) -> None:
    def ask() -> str:
        starter.release()
        become_nobody(path)
        with deadline(5.0):
            assert FilePid(path).wait_running(20.0) is None
        with pytest.raises(DeniedError) as told:
            FilePid(path).holder()
        return str(told.value)

    told = in_child(ask)
    assert told.startswith(f"{path}.lock cannot be used by uid {NOBODY} (Permission denied): give it the right")
