"""How a log file is opened: late, with few rights, and never through a trap."""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.errors import DeniedError, OptionError, SystemFault
from ghostd.log import Log, LogOptions
from tests.unit.linux.forks import in_child

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ghost.log"


def log_to(path: Path | str) -> Log:
    return Log(LogOptions(logfile=str(path)))


def texts(path: Path) -> list[str]:
    return [line.split("] ", 3)[3] for line in path.read_text().splitlines()]


# ── what it is opened as ──
def test_it_is_appended_to_and_not_for_everybody_to_read(path: Path) -> None:
    path.write_text("before\n")
    path.chmod(0o644)
    log = log_to(path)
    assert not path.with_suffix(".2").exists()
    log.info("after")
    assert path.read_text().startswith("before\n[")
    log.close()
    fresh = log_to(path.with_suffix(".2"))
    fresh.open()
    assert path.with_suffix(".2").stat().st_mode & 0o777 == 0o640
    assert not any(os.get_inheritable(fd) for fd in fresh.descriptors())
    fresh.close()


def test_nothing_is_made_before_the_first_record(path: Path) -> None:
    log = log_to(path)
    assert log.descriptors() == ()
    assert not path.exists()
    log.info("now")
    assert path.exists()
    assert log.descriptors() == (log.fileno(),)
    log.close()
    assert log.descriptors() == ()
    log.info("opened again")
    assert len(texts(path)) == 2
    log.close()


def test_a_relative_path_stays_where_it_was_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    log = log_to("ghost.log")
    monkeypatch.chdir("/")
    log.info("here")
    assert texts(path) == ["here"]
    log.close()


def _symlink(path: Path) -> None:
    path.with_name("victim").write_text("precious")
    path.symlink_to(path.with_name("victim"))


def _hard_link(path: Path) -> None:
    path.with_name("victim").write_text("precious")
    os.link(path.with_name("victim"), path)


def _fifo_with_reader(path: Path) -> None:
    os.mkfifo(path)
    os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("lay", "error", "told"),
    [
        (_symlink, DeniedError, "is a symbolic link"),
        (_hard_link, OptionError, "it has 2 names (hard links)"),
        (os.mkfifo, OptionError, "it is no regular file"),
        (_fifo_with_reader, OptionError, "it is no regular file"),
        (Path.mkdir, OptionError, "it is a directory: give the path of a file in it"),
        (_socket, OptionError, "it is no regular file"),
    ],
)
def test_a_trap_is_not_written_to(path: Path, lay: Callable[[Path], None], error: type[Exception], told: str) -> None:
    def work() -> tuple[str, int]:
        lay(path)
        log = log_to(path)
        with pytest.raises(error, match=re.escape(told)):
            log.open()
        log.info("into the trap")
        return path.with_name("victim").read_text() if path.with_name("victim").exists() else "precious", log.dropped

    assert in_child(work) == ("precious", 1)


def test_a_missing_directory_and_a_missing_right_say_whose_move_it_is(path: Path) -> None:
    with pytest.raises(OptionError, match=r"option logfile: .* its directory does not exist: make it"):
        log_to(path / "none" / "ghost.log").open()
    with pytest.raises(SystemFault, match="cannot be opened: File name too long"):
        log_to(path.parent / ("x" * 300)).open()
    if os.geteuid() == 0:

        def work() -> str:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with pytest.raises(DeniedError) as told:
                log_to(path).open()
            return str(told.value)

        assert f"by uid {NOBODY}: give it the right to" in in_child(work)
