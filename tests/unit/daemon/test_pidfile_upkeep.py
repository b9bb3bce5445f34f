"""What the living ghost mends and what the next one sweeps: files deleted by hand, and those of the dead."""

import os
from pathlib import Path

import pytest

from ghostd.daemon.pidfile import FilePid
from ghostd.errors import DeniedError
from tests.unit.linux.forks import Gate, child, in_child, pause


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ghost.pid"


def left_in(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


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
            assert not pidfile.restore()
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
