"""What the living ghost mends and what the next one sweeps: files deleted by hand, and those of the dead."""

import os
import shutil
import time
from pathlib import Path

import pytest

from ghostd.daemon import upkeep as upkeep_module
from ghostd.daemon.pidfile import FilePid
from ghostd.daemon.ready import ReadyFile
from ghostd.daemon.upkeep import Upkeep
from ghostd.errors import DeniedError
from tests.support import left_in, needs_root
from tests.unit.linux.forks import Gate, child, in_child, pause


def started(path: Path) -> FilePid:
    pidfile = FilePid(path)
    assert pidfile.acquire()
    pidfile.save()
    return pidfile


# ── under a living ghost ──
def test_a_deleted_pidfile_does_not_let_a_second_ghost_start(path: Path) -> None:
    pidfile = started(path)
    path.unlink()
    assert in_child(FilePid(path).running) == os.getpid()
    assert in_child(lambda: FilePid(path).acquire(patience=0)) is False
    assert pidfile.restore()
    assert FilePid(path).load() == os.getpid()
    pidfile.remove()
    assert left_in(path) == []


def test_a_deleted_lock_does_not_let_a_second_ghost_start(path: Path) -> None:
    pidfile = started(path)
    Path(f"{path}.lock").unlink()
    assert in_child(FilePid(path).running) == os.getpid()
    assert in_child(lambda: FilePid(path).acquire(patience=0)) is False
    with pytest.raises(DeniedError, match="not signalled"):
        FilePid(path).manager()
    assert pidfile.restore()
    assert in_child(FilePid(path).holder) == os.getpid()
    pidfile.remove()
    assert left_in(path) == []


def test_both_deleted_are_made_anew_unless_another_took_the_place(path: Path) -> None:
    pidfile = started(path)
    path.unlink()
    Path(f"{path}.lock").unlink()
    assert pidfile.restore()
    assert in_child(FilePid(path).holder) == os.getpid() == FilePid(path).load()
    path.unlink()
    Path(f"{path}.lock").unlink()
    with Gate() as gate:

        def second() -> None:
            started(path)
            gate.open()
            pause()

        with child(second) as pid:
            gate.wait()
            with pytest.raises(DeniedError, match="another ghost has the lock"):
                pidfile.restore()
            assert FilePid(path).load() == pid
            pidfile.remove()
            assert FilePid(path).holder() == FilePid(path).load() == pid
    assert FilePid(path).sweep()


def test_nobody_but_the_owner_restores(path: Path) -> None:
    pidfile = started(path)
    path.unlink()
    assert in_child(pidfile.restore) is False
    assert not path.exists()
    pidfile.remove()


def test_a_file_that_was_replaced_by_another_one_is_written_anew(path: Path) -> None:
    pidfile = started(path)
    path.unlink()
    path.write_text("1\n")
    assert pidfile.restore()
    assert pidfile.load() == os.getpid()
    assert not pidfile.restore(), "nothing is missing"
    pidfile.remove()


@needs_root
def test_a_place_that_cannot_be_looked_into_is_not_taken_for_empty(path: Path) -> None:
    pidfile = started(path)
    path.parent.chmod(0o700)

    def as_another_user() -> bool:
        os.setresuid(65534, 65534, 65534)
        pidfile.owner = os.getpid()
        return pidfile.restore()

    assert in_child(as_another_user) is False
    assert pidfile.remove()


# ── looking after it ──
def test_a_deleted_pidfile_is_made_anew_and_that_is_told(path: Path) -> None:
    pidfile, told = started(path), []
    upkeep = Upkeep(pidfile, ReadyFile(""))
    upkeep.look(lambda *line: told.append(line))
    assert told == []
    path.unlink()
    Upkeep(pidfile, ReadyFile("")).look(lambda *line: told.append(line))
    assert told == [("notice", f"Pidfile {path} was missing: made anew")]
    assert pidfile.load() == os.getpid()
    pidfile.remove()


def test_it_is_looked_after_at_most_once_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pidfile, looks = started(path), []
    monkeypatch.setattr(pidfile, "restore", lambda: looks.append(1))
    upkeep = Upkeep(pidfile, ReadyFile(""))
    begun = time.monotonic()
    for _ in range(1000):
        upkeep.look(lambda *_: None)
    assert 1 <= len(looks) <= 1 + (time.monotonic() - begun)
    pidfile.remove()


def test_what_stands_in_the_way_is_told_once_and_the_file_comes_back_when_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "_LOOK_EVERY", 0.0)
    folder, told = tmp_path / "run", []
    folder.mkdir()
    pidfile = started(folder / "ghost.pid")
    upkeep = Upkeep(pidfile, ReadyFile(""))
    shutil.rmtree(folder)
    for _ in range(3):
        upkeep.look(lambda *line: told.append(line))
    ((level, text),) = told
    assert level == "error"
    assert text.startswith(f"Pidfile {folder}/ghost.pid is missing and cannot be made anew: ")
    assert text.endswith("make it, or choose another")
    folder.mkdir()
    upkeep.look(lambda *line: told.append(line))
    assert told[1:] == [("notice", f"Pidfile {folder}/ghost.pid was missing: made anew")]
    pidfile.remove()


# ── sweeping ──
def test_what_a_dead_ghost_left_is_swept_and_a_living_one_is_left_alone(path: Path) -> None:
    assert FilePid(path).sweep()  # nothing there
    assert left_in(path) == []
    with child(lambda: started(path)) as pid:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert left_in(path) == ["ghost.pid", "ghost.pid.lock"]
        assert FilePid(path).sweep()
        assert left_in(path) == []


def test_a_start_is_not_kept_from_starting_by_a_sweep(path: Path) -> None:
    path.write_text("1\n")
    with Gate() as begun:

        def sweep_on() -> None:
            begun.open()
            for _ in range(300):
                path.with_suffix(".pid.lock").touch()
                FilePid(path).sweep()

        with child(sweep_on) as pid:
            begun.wait()
            for _ in range(30):
                pidfile = FilePid(path)
                assert pidfile.acquire(patience=2.0)
                pidfile.release()
            os.waitpid(pid, 0)
