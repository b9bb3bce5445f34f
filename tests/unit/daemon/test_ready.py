"""The ready file: empty until the ghost can work, never believed of one that has ended, and no trap for the manager."""

import os
import stat
from pathlib import Path

import pytest

from ghostd.daemon.ready import ReadyFile, ready_pid
from ghostd.errors import DeniedError, OptionError, SystemFault
from tests.support import needs_root
from tests.unit.linux.forks import in_child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ghost.pid.ready"


def made(path: Path) -> ReadyFile:
    ready = ReadyFile(str(path))
    ready.make()
    return ready


def test_it_says_who_is_ready_as_long_as_that_is_so(path: Path) -> None:
    ready = ReadyFile(str(path))
    ready.say(True)
    assert not path.exists(), "nothing is done before it was made"
    ready.make()
    assert path.read_text() == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert ready_pid(str(path)) == 0
    ready.say(True)
    assert ready_pid(str(path)) == os.getpid()
    ready.say(True)
    assert path.read_text().startswith(f"{os.getpid()}\n")
    ready.say(False)
    assert path.read_text() == ""
    ready.say(True)
    ready.remove()
    assert not path.exists()
    assert ready.descriptors() == ()
    ready.remove()


def test_one_that_a_dead_ghost_has_left_is_not_believed_and_is_replaced(path: Path) -> None:
    def ghost() -> int:
        made(path).say(True)
        return os.getpid()

    pid = in_child(ghost)
    assert path.read_text().startswith(f"{pid}\n")
    assert ready_pid(str(path)) == 0
    ready = made(path)
    assert path.read_text() == ""
    ready.remove()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "nonsense",
        "{pid}\n",
        "{pid}\n{ticks}\n",
        "{pid}\n{ticks}\nanother boot\n",
        "{pid}\n1\n{boot}\n",
        "0\n{ticks}\n{boot}\n",
        "99999999999\n{ticks}\n{boot}\n",
        "-1\n{ticks}\n{boot}\n",
        "\udcff\n{ticks}\n{boot}\n",
        "{pid}\n{ticks}\n{boot}",
        "x" * 500,
    ],
)
def test_a_text_that_does_not_name_this_very_process_is_not_believed(path: Path, text: str) -> None:
    ready = made(path)
    ready.say(True)
    pid, ticks, boot, _ = path.read_text().split("\n")
    told = text.format(pid=pid, ticks=ticks, boot=boot)
    path.write_text(told, encoding="utf-8", errors="surrogateescape")
    assert ready_pid(str(path)) == (os.getpid() if told.split("\n") == [pid, ticks, boot] else 0)
    ready.remove()


def test_the_holder_of_the_lock_is_believed_though_it_sees_another_boot(path: Path) -> None:
    ready = made(path)
    ready.say(True)
    pid, ticks, _, _ = path.read_text().split("\n")
    path.write_text(f"{pid}\n{ticks}\nanother boot\n")
    assert ready_pid(str(path)) == 0
    assert ready_pid(str(path), os.getpid()) == os.getpid()
    assert ready_pid(str(path), 1) == 0
    path.write_text(f"{pid}\n1\nanother boot\n")
    assert ready_pid(str(path), os.getpid()) == 0, "an earlier process of that number"
    ready.remove()


def test_one_that_somebody_removed_is_made_anew_as_it_was(path: Path) -> None:
    ready = made(path)
    assert not ready.restore()
    ready.say(True)
    path.unlink()
    assert ready.restore()
    assert ready_pid(str(path)) == os.getpid()
    path.unlink()
    path.write_text("1\n")
    assert ready.restore(), "another file of that name is not ours"
    assert ready_pid(str(path)) == os.getpid()
    ready.remove()
    assert not ReadyFile(str(path)).restore()


def test_one_that_cannot_be_made_anew_is_tried_again(path: Path) -> None:
    ready = made(path)
    ready.say(True)
    path.unlink()
    path.mkdir()
    with pytest.raises(DeniedError):
        ready.restore()
    path.rmdir()
    assert ready.restore()
    assert ready_pid(str(path)) == os.getpid()
    ready.remove()


def test_what_is_not_ours_is_left_when_it_is_removed(path: Path) -> None:
    ready = made(path)
    path.unlink()
    path.write_text("another")
    ready.remove()
    assert path.read_text() == "another"


def test_a_trap_in_its_place_is_an_error_and_is_not_touched(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(DeniedError, match="is no regular file"):
        made(path)
    assert victim.read_text() == "precious"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DeniedError, match="is no regular file"):
        made(path)
    path.unlink()
    path.write_text("precious")
    with pytest.raises(DeniedError, match="holds something else than a pid"):
        made(path)
    assert path.read_text() == "precious"


def test_a_directory_that_is_not_there_and_one_that_is_closed_are_told_by_who_must_act(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"option ready_file: the directory .*/no does not exist"):
        made(tmp_path / "no" / "ready")
    with pytest.raises(SystemFault, match="File name too long"):
        made(tmp_path / ("x" * 300))


@needs_root
def test_a_ghost_that_became_another_user_can_still_say_that_it_is_not_ready_any_more(path: Path) -> None:
    ready = made(path)

    def as_another_user() -> tuple[bool, int]:
        os.setresuid(65534, 65534, 65534)
        ready.say(True)
        was = ready_pid(str(path)) == os.getpid()
        ready.remove()
        return was, path.stat().st_size

    path.parent.chmod(0o755)
    for parent in path.parents[1:4]:
        parent.chmod(0o755)
    assert in_child(as_another_user) == (True, 0)
    ready.remove()


@needs_root
def test_one_who_may_not_make_it_is_told_so(path: Path) -> None:
    def as_another_user() -> str:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(DeniedError) as error:
            made(path)
        return str(error.value)

    path.parent.chmod(0o755)
    for parent in path.parents[1:4]:
        parent.chmod(0o755)
    assert "cannot be used by uid 65534 (Permission denied)" in in_child(as_another_user)
