"""A log file: nothing lost and nothing torn while it is moved away, and no trap stepped into."""

import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostd.linux import fds
from ghostd.log import Log, LogOptions, files
from tests.support import needs_root, needs_tool, wait_until
from tests.unit.linux.forks import Gate, in_child

LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{5}\] \[\d+\] \[\w+\] (.*)", re.ASCII)
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ghost.log"


def log_to(path: Path | str) -> Log:
    return Log(LogOptions(logfile=str(path)))


def texts(*paths: Path) -> list[str]:
    """The messages in these files, each of which consists of whole lines."""
    lines = [line for path in paths for line in path.read_text().splitlines()]
    whole = [LINE.fullmatch(line) for line in lines]
    assert all(whole), next(line[:200] for line in lines if not LINE.fullmatch(line))
    return [match[1] for match in whole if match]


def writers(count: int, work: Callable[[int], None]) -> list[int]:
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                work(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    return pids


def ended_well(pids: list[int]) -> None:
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)


# ── rotation ──
@pytest.mark.parametrize("how", ["by looking", "when told"])
@pytest.mark.parametrize("parts", ["from one log", "each its own"])
def test_eight_writers_and_a_rotation_lose_nothing_and_tear_nothing(
    path: Path, how: str, parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = 2000
    monkeypatch.setattr(files, "_LOOK_EVERY", 0.005 if how == "by looking" else 3600.0)
    shared = log_to(path)
    shared.info("begin")
    with Gate() as gate:

        def work(number: int) -> None:
            log = shared if parts == "from one log" else log_to(path)
            gate.wait()
            for turn in range(lines):
                log.info(f"writer {number} line {turn} " + "x" * (turn % 97))
                if how == "when told" and turn % 100 == number:
                    log.reopen()
            assert log.dropped == 0

        pids = writers(8, work)
        for _ in pids:
            gate.open()
    moved: list[Path] = []
    while any(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None for pid in pids):
        if path.exists():
            moved.append(path.with_suffix(f".{len(moved)}"))
            path.rename(moved[-1])
        time.sleep(0.004)
    ended_well(pids)
    found = texts(*moved, *([path] if path.exists() else []))
    found.remove("begin")
    assert sorted(found) == sorted(
        f"writer {number} line {turn} " + "x" * (turn % 97) for number in range(8) for turn in range(lines)
    )
    assert len(moved) > 3


def test_records_of_thirty_kilobytes_never_mix(path: Path) -> None:
    def work(number: int) -> None:
        log = log_to(path)
        for _ in range(40):
            log.info(chr(ord("a") + number) * 30_000)

    ended_well(writers(6, work))
    found = texts(path)
    assert sorted(found) == sorted(chr(ord("a") + number) * 30_000 for number in range(6) for _ in range(40))


def test_threads_that_write_while_it_is_moved_lose_nothing(path: Path) -> None:
    log = log_to(path)
    moved: list[Path] = []
    done = threading.Event()

    def work(number: int) -> None:
        for turn in range(1000):
            log.info(f"{number}-{turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    mover = threading.Thread(target=_move_on, args=(path, log, moved, done))
    for thread in (*threads, mover):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    mover.join()
    assert sorted(texts(path, *moved)) == sorted(f"{number}-{turn}" for number in range(3) for turn in range(1000))
    log.close()


def _move_on(path: Path, log: Log, moved: list[Path], done: threading.Event) -> None:
    while not done.wait(0.002):
        if path.exists():
            moved.append(path.with_suffix(f".{len(moved)}"))
            path.rename(moved[-1])
            log.reopen()
    log.reopen()


def test_the_descriptor_stays_the_same_and_stdio_goes_along(path: Path) -> None:
    def work() -> tuple[bool, str, str]:
        log = log_to(path)
        before = log.fileno()
        assert before is not None
        fds.redirect_stdio(before)
        os.write(1, b"to stdout\n")
        path.rename(path.with_suffix(".1"))
        log.reopen()
        os.write(2, b"to stderr\n")
        return log.fileno() == before, path.with_suffix(".1").read_text(), path.read_text()

    assert in_child(work) == (True, "to stdout\n", "to stderr\n")


def test_stdio_that_goes_elsewhere_is_left_alone(path: Path, tmp_path: Path) -> None:
    def work() -> str:
        log = log_to(path)
        log.open()
        other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
        fds.redirect_stdio(other)
        path.unlink()
        log.reopen()
        os.write(1, b"still\n")
        return (tmp_path / "other").read_text()

    assert in_child(work) == "still\n"


def test_a_deleted_file_is_made_again_within_a_second(path: Path) -> None:
    log = log_to(path)
    log.info("one")
    path.unlink()

    def write() -> bool:
        log.info("two")
        return path.exists()

    wait_until(write)
    log.close()


def test_a_record_does_not_look_at_the_file_each_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, stat, begun = [], os.stat, time.monotonic()

    def look(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        looks.append(path)
        return stat(path, follow_symlinks=follow_symlinks)

    log = log_to(path)
    log.info("one")
    monkeypatch.setattr(os, "stat", look)
    for _ in range(100):
        log.info("more")
    assert len(looks) <= time.monotonic() - begun, "once a second"
    log.close()


# ── when it cannot be opened anew ──
@needs_root
def test_the_old_file_goes_on_where_another_user_may_not_open_the_new_one(path: Path) -> None:
    path.parent.chmod(0o755)

    log = log_to(path)
    log.info("as root")
    path.rename(path.with_suffix(".1"))

    def spirit() -> int:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        for _ in range(3):
            log.reopen()
            log.info("as nobody")
        return log.dropped

    assert in_child(spirit) == 0
    told = f"log file {path} cannot be opened anew (Permission denied): going on with the old one"
    assert texts(path.with_suffix(".1")) == ["as root", told, *["as nobody"] * 3]
    assert not path.exists()
    log.close()


@needs_root
def test_a_file_given_to_the_user_can_be_opened_anew_by_it(path: Path) -> None:
    for folder in (path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    log = log_to(path)
    log.give_to(NOBODY, NOBODY)
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)
    os.chown(path.parent, NOBODY, NOBODY)

    def work() -> int:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        path.rename(path.with_suffix(".1"))
        log.reopen()
        log.info("new")
        return log.dropped

    assert in_child(work) == 0
    assert texts(path) == ["new"]
    log.close()


# ── a full disk ──
def test_a_full_device_loses_records_and_counts_them() -> None:
    log = log_to("/dev/full")
    for _ in range(5):
        log.info("lost")
    assert log.dropped == 5
    log.close()


def test_a_torn_record_does_not_become_the_beginning_of_the_next(path: Path) -> None:
    def work() -> int:
        log = log_to(path)
        log.info("one")
        size = path.stat().st_size
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
        log.info("torn")
        log.info("lost")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        log.info("two")
        return log.dropped

    assert in_child(work) == 2
    first, torn, told, last = path.read_text().splitlines()
    assert first.endswith("one")
    assert len(torn) == 20
    assert told.endswith("[warn] 2 log records were lost (File too large)")
    assert last.endswith("two")


FULL_DISK = """
import os, sys
from ghostd.log import Log, LogOptions
log = Log(LogOptions(logfile=sys.argv[1] + "/ghost.log"))
log.info("one")
with open(sys.argv[1] + "/fill", "wb", buffering=0) as fill:
    try:
        while True:
            fill.write(b"x" * 4096)
    except OSError:
        pass
for _ in range(200):
    log.info("y" * 1000)
lost = log.dropped
assert lost > 150, lost
os.unlink(sys.argv[1] + "/fill")
log.info("two")
assert log.dropped == lost, log.dropped
print(open(sys.argv[1] + "/ghost.log").read())
"""


@needs_root
@needs_tool("unshare")
@pytest.mark.namespace
def test_a_full_disk_stops_nobody_and_is_told_of_afterwards(tmp_path: Path) -> None:
    mounted = f"mount -t tmpfs -o size=64k none {tmp_path} && exec {sys.executable} -c '{FULL_DISK}' {tmp_path}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounted]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.strip().splitlines()
    assert re.search(r"\[warn\] \d+ log records were lost \(No space left on device\)$", lines[-2])
    assert lines[-1].endswith("[info] two")
