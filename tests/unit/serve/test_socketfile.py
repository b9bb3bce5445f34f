"""A socket file is replaced only where nobody serves, and removed only by its owner; nothing else is touched."""

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from ghostd.errors import DeniedError, ExitCode, ListenError, OptionError
from ghostd.serve.listeners import Heirs
from tests.support import needs_root
from tests.unit.serve.drive import connected, opened, refused


def test_a_socket_file_has_its_mode_and_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners = opened(f"unix:{path}", f"unix:{path}2?mode=600")
    assert [stat.S_IMODE(os.stat(one).st_mode) for one in (path, f"{path}2")] == [0o660, 0o600]
    assert listeners.addresses == [f"unix:{path}", f"unix:{path}2"]
    with connected(listeners):
        assert listeners.queued() == 1
    assert listeners.close() == [f"Closing unix:{path}: 1 connection that waits is reset"]
    assert os.listdir(tmp_path) == []


def test_a_relative_path_is_below_the_directory_of_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listeners = opened("unix:x.sock")
    monkeypatch.chdir("/")
    assert listeners.addresses == [f"unix:{tmp_path}/x.sock"]
    listeners.close()
    assert os.listdir(tmp_path) == []


def test_an_abstract_socket_has_no_file() -> None:
    name = f"@ghostd-{os.getpid()}"
    listeners = opened(f"unix:{name}")
    assert listeners.addresses == [f"unix:{name}"]
    assert refused(f"unix:{name}").code is ExitCode.NO_ADDRESS
    listeners.close()


def test_what_a_server_that_ended_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    listeners = opened(f"unix:{path}")
    connected(listeners).close()
    listeners.close()
    assert os.listdir(tmp_path) == []


def test_the_socket_of_a_living_server_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        inode = os.stat(path).st_ino
        error = refused(f"unix:{path}")
        assert f"(pid {os.getpid()}, " in str(error) or "another address of the list" in str(error)
        assert os.stat(path).st_ino == inode
        assert os.listdir(tmp_path) == ["x.sock"]


def test_a_living_server_whose_queue_is_full_is_one_too(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(5)]
        codes = [one.connect_ex(str(path)) for one in crowd]
        assert errno.EAGAIN in codes
        assert refused(f"unix:{path}").code is ExitCode.NO_ADDRESS
        for one in crowd:
            one.close()


def test_a_path_that_another_ghost_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    first = opened(f"unix:{path}")
    os.unlink(path)  # by mistake: the lock still says whose it is
    error = refused(f"unix:{path}")
    assert "another ghost" in str(error)
    assert isinstance(error, ListenError)
    first.close()
    assert os.listdir(tmp_path) == []


def test_a_file_that_somebody_else_has_put_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners = opened(f"unix:{path}")
    path.rename(tmp_path / "old")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listeners.close()
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_a_process_that_does_not_own_it_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listeners = opened(f"unix:{path}")
    pid = os.fork()
    if pid == 0:
        listeners.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.exists()
    listeners.leave()
    assert sorted(os.listdir(tmp_path)) == ["x.sock", "x.sock.lock"]


@pytest.mark.parametrize("kind", ["file", "directory", "link", "fifo"])
def test_what_is_no_socket_is_never_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    victim = tmp_path / "victim"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(victim))
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(victim)
        case _:
            os.mkfifo(path)
    before = os.lstat(path)
    error = refused(f"unix:{path}")
    assert error.code is ExitCode.BAD_OPTION
    assert "no socket" in str(error)
    assert os.lstat(path) == before
    assert victim.exists()
    assert not (tmp_path / "x.lock").exists()


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("unix:{}/none/x", ExitCode.BAD_OPTION, "there is no directory {}/none; make it"),
        ("unix:{}/file/x", ExitCode.BAD_OPTION, "{}/file is no directory"),
        ("unix:{}/x?user=no-such-user", ExitCode.BAD_OPTION, "there is no user 'no-such-user'; choose"),
        (
            "unix:{}/x?group=no-such-group",
            ExitCode.BAD_OPTION,
            "there is no group 'no-such-group'; choose one that there is",
        ),
        ("unix:{}/x?group=no-such-group", ExitCode.BAD_OPTION, "no-such-group"),
    ],
)
def test_a_path_that_cannot_be_is_told_and_leaves_nothing(tmp_path: Path, text: str, code: ExitCode, why: str) -> None:
    (tmp_path / "file").touch()
    error = refused(f"unix:{tmp_path}/first", text.format(tmp_path))
    assert why.format(tmp_path) in str(error)
    assert error.code is code
    assert os.listdir(tmp_path) == ["file"]


def test_a_relative_path_that_is_too_long_where_it_stands_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    error = refused("unix:x.sock")
    assert "at most 107" in str(error)
    assert isinstance(error, OptionError)


@needs_root
def test_a_socket_file_belongs_to_whom_the_ghost_becomes_or_to_whom_it_is_told(tmp_path: Path) -> None:
    listeners = opened(f"unix:{tmp_path}/a", f"unix:{tmp_path}/b?user=1&group=2", heirs=Heirs(65534, 65533))
    owners = [(found.st_uid, found.st_gid) for found in (os.stat(tmp_path / name) for name in "ab")]
    assert owners == [(65534, 65533), (1, 2)]
    listeners.close()


@needs_root
def test_a_directory_that_one_may_not_write_to_is_told(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir(mode=0o755)
    os.chmod(tmp_path, 0o755)
    pid = os.fork()
    if pid == 0:
        os.chdir(place)
        os.setuid(65534)
        try:
            opened("unix:x.sock")
        except DeniedError as error:
            os._exit(0 if "may not write" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_root
def test_a_lock_of_another_user_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="ghostd-") as place:  # pytest's is closed to others
        os.chmod(place, 0o777)
        Path(place, "x.sock.lock").touch(mode=0o600)
        pid = os.fork()
        if pid == 0:
            os.setuid(65534)
            try:
                opened(f"unix:{place}/x.sock")
            except DeniedError as error:
                os._exit(0 if "x.sock.lock is another user's" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_link_in_the_place_of_the_lock_is_told_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "x.sock.lock").symlink_to(victim)
    error = refused(f"unix:{tmp_path}/x.sock")
    assert "x.sock.lock: it is a symbolic link" in str(error)
    assert not victim.exists()
