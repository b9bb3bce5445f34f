"""What others put in the place of pidfile or lock: each is an error that says what to do, and nothing is touched."""

import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.daemon.pidfile import FilePid
from ghostd.errors import DeniedError, ExitCode, GhostdError, OptionError, SystemFault
from tests.support import needs_root, needs_tool
from tests.unit.linux.forks import in_child

NOBODY = 65534


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


# ── what may lie there ──
def _symlink(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("4242\n")
    victim.chmod(0o640)
    path.symlink_to(victim)


def _dangling_symlink(path: Path) -> None:
    path.symlink_to(path.with_name("not there"))


def _hard_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("4242\n")
    victim.chmod(0o640)
    os.link(victim, path)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("kept")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


TRAPS: list[Callable[[Path], None]] = [_symlink, _dangling_symlink, _hard_link, _fifo, _directory, _socket]


def census(folder: Path) -> dict[str, tuple[int, int, int, int, str]]:
    """All that an attack could change."""
    found = {}
    for one in sorted(folder.rglob("*")):
        about = one.lstat()
        text = one.read_text() if stat.S_ISREG(about.st_mode) else ""
        found[one.name] = (about.st_ino, about.st_mode, about.st_uid, about.st_nlink, text)
    return found


@pytest.mark.parametrize("place", ["ghost.pid", "ghost.pid.lock"])
@pytest.mark.parametrize("lay", TRAPS)
@pytest.mark.parametrize("is_locked_once", [False, True], ids=["fresh", "after another ghost"])
def test_a_trap_is_an_error_and_nothing_is_touched(
    path: Path, lay: Callable[[Path], None], place: str, is_locked_once: bool
) -> None:
    lay(path.with_name(place))
    if is_locked_once and place == "ghost.pid":
        path.with_name("ghost.pid.lock").touch(0o600)
    before = census(path.parent)
    calls: list[Callable[[FilePid], object]] = [FilePid.acquire, FilePid.save]
    if place == "ghost.pid":
        calls += [FilePid.load] if is_locked_once else [FilePid.load, FilePid.running]
    for call in calls:
        pidfile = FilePid(path)
        with pytest.raises(DeniedError) as told:
            call(pidfile)
        assert str(path.with_name(place)) in str(told.value)
        assert re.search("remove it, or choose another path|give the path of a file in it", str(told.value))
        pidfile.release()
    pidfile = FilePid(path)
    assert not pidfile.sweep()
    assert not pidfile.remove()
    assert census(path.parent) == before


@pytest.mark.parametrize("content", ["[settings]\nspirits = 4\n", "\n", "\0" * 20], ids=["settings", "lines", "zeros"])
def test_a_file_that_holds_something_else_than_a_pid_is_not_replaced_and_not_swept(path: Path, content: str) -> None:
    path.write_text(content)
    for call in (FilePid.acquire, FilePid.save):
        with pytest.raises(DeniedError, match="holds something else than a pid, and is not replaced: remove it"):
            call(FilePid(path))
    assert not FilePid(path).sweep()
    assert path.read_text() == content
    assert FilePid(path).running() is None


@pytest.mark.parametrize("lay", [_symlink, _hard_link, _fifo])
def test_a_trap_laid_under_a_living_ghost_is_not_removed_with_it(path: Path, lay: Callable[[Path], None]) -> None:
    pidfile = FilePid(path)
    pidfile.save()
    path.unlink()
    lay(path)
    before = path.lstat().st_ino
    with pytest.raises(DeniedError, match="remove it, or choose another path"):
        pidfile.restore()
    pidfile.remove()
    assert path.lstat().st_ino == before


@needs_root
@pytest.mark.parametrize("place", ["ghost.pid", "ghost.pid.lock"])
def test_another_users_file_is_an_error_for_who_would_start(path: Path, place: str) -> None:
    path.with_name(place).write_text("4242\n")
    path.with_name(place).chmod(0o600)
    os.chown(path.parent, NOBODY, NOBODY)
    for folder in (path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    before = census(path.parent)

    def start() -> tuple[str, int]:
        become_nobody()
        with pytest.raises(DeniedError) as told:
            FilePid(path).save()
        return str(told.value), told.value.code

    told, code = in_child(start)
    assert str(path.with_name(place)) in told
    assert code == ExitCode.DENIED
    assert census(path.parent) == before


@needs_root
def test_root_does_not_replace_the_file_of_a_user(path: Path) -> None:
    path.write_text("4242\n")
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(DeniedError, match=f"belongs to uid {NOBODY}, not to uid 0: remove it"):
        FilePid(path).save()
    assert path.read_text() == "4242\n"


@needs_root
def test_a_user_cannot_keep_root_from_starting_by_a_shared_lock(path: Path) -> None:
    path.parent.chmod(0o755)
    pidfile = FilePid(path)
    pidfile.save()

    def read() -> bool:
        pidfile.release()
        become_nobody()
        return os.access(f"{path}.lock", os.R_OK)

    assert in_child(read) is False
    pidfile.remove()


def test_a_missing_directory_is_an_error_of_the_option(tmp_path: Path) -> None:
    pidfile = FilePid(tmp_path / "none" / "ghost.pid")
    assert pidfile.running() is None
    assert pidfile.load() is None
    assert pidfile.sweep()
    for call in (pidfile.acquire, pidfile.save):
        with pytest.raises(OptionError, match=r"option pidfile: the directory .* does not exist: make it"):
            call()


@needs_root
def test_a_directory_without_the_right_to_write_is_an_error_with_who_lacks_it(path: Path) -> None:
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)

    def start() -> str:
        become_nobody()
        with pytest.raises(DeniedError) as told:
            FilePid(path).save()
        return str(told.value)

    assert f"cannot be used by uid {NOBODY}" in in_child(start)


@needs_root
def test_an_owner_that_became_another_user_empties_the_file_that_it_may_not_remove(path: Path) -> None:
    path.parent.chmod(0o755)

    def ghost() -> tuple[bool, bool]:
        pidfile = FilePid(path)
        pidfile.save()
        become_nobody()
        return pidfile.running() == os.getpid(), pidfile.remove()

    assert in_child(ghost) == (True, True)
    assert path.read_bytes() == b""
    pidfile = FilePid(path)
    assert pidfile.running() is None
    assert pidfile.load() is None
    assert not pidfile.is_left
    pidfile.save()  # and the next start is free
    pidfile.remove()


# ── a machine that says no ──
@pytest.mark.parametrize("limit", [0, 1, 5, 20])
def test_a_short_write_fails_the_start_and_leaves_the_old_file_whole(path: Path, limit: int) -> None:
    path.write_text("4242\n")
    pidfile = FilePid(path)
    assert pidfile.acquire()

    def save() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(SystemFault) as told:
            pidfile.save()
        assert told.value.code == ExitCode.SYSTEM
        return str(told.value)

    assert "File too large" in in_child(save)
    assert path.read_text() == "4242\n"
    assert sorted(one.name for one in path.parent.iterdir()) == ["ghost.pid", "ghost.pid.lock"]
    pidfile.release()


FULL_DISK = """
import sys
from ghostd.daemon.pidfile import FilePid
from ghostd.errors import SystemFault
pidfile = FilePid(sys.argv[1] + "/ghost.pid")
assert pidfile.acquire()
try:
    open(sys.argv[1] + "/fill", "wb", buffering=0).write(b"x" * 1_000_000)
except OSError:
    pass
try:
    pidfile.save()
except SystemFault as error:
    sys.exit(str(error))
"""


@needs_root
@needs_tool("unshare")
@pytest.mark.namespace
def test_a_full_disk_fails_the_start_and_says_so(tmp_path: Path) -> None:
    mounted = f"mount -t tmpfs -o size=64k none {tmp_path} && exec {sys.executable} -c '{FULL_DISK}' {tmp_path}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounted]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended
    assert "No space left on device" in ended.stderr


# Before these calls nothing of ours is on the disk; after each failure nothing of it may be.
@needs_tool("strace")
@pytest.mark.parametrize("fault", ["fsync:error=EIO", "rename:error=ENOSPC", "write:error=EDQUOT", "write:retval=1"])
def test_a_failing_call_never_leaves_half_a_file(path: Path, fault: str) -> None:
    call = fault.partition(":")[0]
    calls = f"{call},renameat,renameat2" if call == "rename" else call
    program = f"from ghostd.daemon.pidfile import FilePid; FilePid({str(path)!r}).save()"
    strace = shutil.which("strace")
    assert strace is not None
    inject = f"inject={calls}:{fault.partition(':')[2]}" + (":when=1" if "retval" in fault else "")
    command = [strace, "-qq", "-f", "-o", "/dev/null", "-P", f"{path}.new", "-e", f"trace={calls}", "-e", inject]
    ended = subprocess.run([*command, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "retval" in fault:  # one byte was taken, it says; the rest is written then
        assert ended.returncode == 0, ended.stderr
        assert len(path.read_text().splitlines()) == 3
        return
    assert ended.returncode == 1
    assert "SystemFault" in ended.stderr
    assert [one.name for one in path.parent.iterdir()] == ["ghost.pid.lock"]


def test_a_writer_killed_half_way_is_no_obstacle(path: Path) -> None:
    path.with_name("ghost.pid.new").write_text("42")
    pidfile = FilePid(path)
    pidfile.save()
    assert pidfile.load() == os.getpid()
    pidfile.remove()
    assert list(path.parent.iterdir()) == []


def test_a_directory_that_vanished_ends_no_ghost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    pidfile = FilePid(folder / "ghost.pid")
    pidfile.save()
    shutil.rmtree(folder)
    with pytest.raises(OptionError, match=r"the directory .* does not exist"):
        pidfile.restore()
    folder.mkdir()
    assert pidfile.restore()
    assert in_child(FilePid(folder / "ghost.pid").running) == os.getpid()
    shutil.rmtree(folder)
    assert pidfile.remove()


def test_every_error_is_of_a_family_that_says_who_must_act(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GhostdError):
        FilePid(tmp_path / "file" / "ghost.pid").save()
    with pytest.raises(GhostdError):
        FilePid(tmp_path / ("n" * 300)).save()
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # else a file limit would kill instead
