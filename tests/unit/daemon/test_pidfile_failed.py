"""The pidfile of a start that fails, and files that are missing or in the way: what is taken back, and what is not."""

import os
import shutil
from pathlib import Path

import pytest

from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.ready import READY_ENDING
from ghostd.errors import DeniedError, GhostdError
from tests.support import deadline, left_in


# ── a start that fails ──
def test_a_start_that_fails_takes_back_what_was_pushed_then_the_files_and_then_the_rest(path: Path) -> None:
    pidfile, calls = FilePid(path), []

    def note(word: str) -> None:
        calls.append((word, left_in(path), bool(pidfile.descriptors())))

    path.write_text("4242\n")
    Path(f"{path}{READY_ENDING}").write_text("4242\n")
    all_three = sorted(["ghost.pid", "ghost.pid.lock", f"ghost.pid{READY_ENDING}"])
    with pytest.raises(ZeroDivisionError):  # noqa: PT012, SIM117  what fails is the end of the block
        with pidfile.trying(lambda: note("last")) as undone:
            assert pidfile.acquire()
            undone.callback(note, "second")
            undone.callback(note, "first")
            raise ZeroDivisionError
    assert calls == [("first", all_three, True), ("second", all_three, True), ("last", [], False)]


def test_a_start_that_succeeds_takes_nothing_back(path: Path) -> None:
    pidfile, calls = FilePid(path), []
    with pidfile.trying(lambda: calls.append("last")) as undone:
        assert pidfile.acquire()
        undone.callback(calls.append, "first")
    assert calls == []
    assert len(pidfile.descriptors()) == 1
    pidfile.give_up()
    assert left_in(path) == []


def test_who_gives_up_removes_nothing_of_a_manager_and_nothing_without_the_lock(path: Path, starter: FilePid) -> None:
    path.write_text("4242\n")
    FilePid(path).give_up()
    assert left_in(path) == ["ghost.pid", "ghost.pid.lock"]
    starter.save()
    starter.give_up()
    assert left_in(path) == ["ghost.pid", "ghost.pid.lock"]
    assert (starter.owner, starter.descriptors(), FilePid(path).holder()) == (None, (), None)
    assert FilePid(path).sweep()


def test_who_gives_up_removes_what_it_can(path: Path, starter: FilePid) -> None:
    path.mkdir()
    starter.give_up()
    assert left_in(path) == ["ghost.pid"]
    assert starter.descriptors() == ()


# ── what is missing, left or in the way ──
def test_an_owner_that_has_not_saved_yet_restores_the_file(path: Path, starter: FilePid) -> None:
    assert not starter.restore()
    assert starter.adopt_after_fork()
    assert not FilePid(path).restore()
    assert starter.restore()
    assert starter.load() == os.getpid()
    starter.remove()


def test_a_link_to_its_own_file_is_not_its_file(path: Path, starter: FilePid) -> None:
    starter.save()
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(DeniedError, match="is no regular file: remove it"):
        starter.restore()
    assert starter.remove()
    assert left_in(path) == ["elsewhere", "ghost.pid"]


def test_a_place_that_leads_nowhere_ends_no_ghost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    pidfile = FilePid(folder / "ghost.pid", autosave=True)
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    with pytest.raises(GhostdError, match=f"{pidfile.file}.lock cannot be used: Too many levels"):
        pidfile.restore()
    assert pidfile.remove()
    assert pidfile.descriptors() == ()
    folder.unlink()
    folder.mkdir()
    assert pidfile.acquire()
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    pidfile.give_up()
    assert pidfile.descriptors() == ()


def test_a_sweep_does_not_wait_and_says_so_when_something_stays(path: Path, starter: FilePid) -> None:
    with deadline(0.5):
        assert not FilePid(path).sweep()
    starter.release()
    Path(f"{path}{READY_ENDING}").mkdir()
    path.write_text("4242\n")
    pidfile = FilePid(path)
    assert not pidfile.sweep()
    assert pidfile.descriptors() == ()
    assert left_in(path) == ["ghost.pid.lock", f"ghost.pid{READY_ENDING}"]
