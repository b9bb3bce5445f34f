"""A stream of somebody else's: its flags are left alone, and a reader that stops reading stops nobody."""

import fcntl
import io
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from ghostd.errors import SystemFault
from ghostd.log import Log, LogOptions
from tests.support import deadline
from tests.unit.linux.forks import in_child


def log_on(handle: object) -> Log:
    return Log(LogOptions(loghandle=handle))


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as handle:
        yield reader, handle
    os.close(reader)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def deny_reopening(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the pipe or terminal is another user's."""
    really = os.open

    def denied(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path).startswith("/proc/self/fd/"):
            raise PermissionError(13, "Permission denied")
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", denied)


# ── kinds of streams ──
def test_what_the_user_has_written_comes_first(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as handle:
        handle.write("user's\n")
        log = log_on(handle)
        log.info("ghost's")
        log.close()
        handle.write("user's again\n")
    shown = (tmp_path / "out").read_text().splitlines()
    assert [line.rpartition("] ")[2] for line in shown] == ["user's", "ghost's", "user's again"]


@pytest.mark.parametrize(
    ("make", "taken"),
    [
        (io.StringIO, lambda handle: handle.getvalue()),
        (io.BytesIO, lambda handle: handle.getvalue().decode()),
        (lambda: io.TextIOWrapper(io.BytesIO(), "ascii", "backslashreplace"), lambda h: h.buffer.getvalue().decode()),
    ],
)
def test_an_object_without_a_descriptor_is_written_to(
    make: Callable[[], object], taken: Callable[[object], str]
) -> None:
    handle = make()
    log = log_on(handle)
    log.info("one", seat=1)
    log.exception("two", ValueError("x"))
    assert re.fullmatch(r"\[.*\] \[info\] one seat=1\n\[.*\] \[error\] two\n(\[.*\] \[error\] .*\n)+", taken(handle))
    assert log.fileno() is None
    assert log.descriptors() == ()
    log.reopen()
    log.close()


def test_a_closed_or_failing_object_loses_records_and_nothing_else() -> None:
    handle = io.StringIO()
    log = log_on(handle)
    handle.close()
    log.info("lost")
    assert log.dropped == 1
    narrow = log_on(io.TextIOWrapper(io.BytesIO(), "ascii", "strict"))
    narrow.info("Grüße")
    assert narrow.dropped == 1


def test_the_descriptor_given_is_the_one_for_stdio(pipe: tuple[int, IO[str]]) -> None:
    _, handle = pipe
    log = log_on(handle)
    assert log.fileno() == handle.fileno()
    assert log.descriptors() == (handle.fileno(),)
    log.open()
    assert len(log.descriptors()) == 2
    log.give_to(0, 0)
    log.close()


def test_a_closed_descriptor_is_told_when_it_is_opened() -> None:
    def work() -> str:
        os.close(1)
        log = Log(LogOptions(logfile="/dev/stdout"))
        with pytest.raises(SystemFault) as told:
            log.open()
        log.info("lost")
        assert log.dropped == 1
        return str(told.value)

    assert "the log's stream 1 cannot be used: Bad file descriptor" in in_child(work)


@pytest.mark.parametrize(("path", "number"), [("/dev/stdout", 1), ("/dev/stderr", 2)])
def test_the_names_of_stdio_mean_stdio(path: str, number: int) -> None:
    reader, writer = os.pipe()

    def work() -> int | None:
        os.dup2(writer, number)
        log = Log(LogOptions(logfile=path))
        log.info("through a link of the kernel's")
        return log.fileno()

    assert in_child(work) == number
    assert os.read(reader, 1000).endswith(b"[info] through a link of the kernel's\n")
    os.close(reader)
    os.close(writer)


def test_a_terminal_is_written_to_without_becoming_ours() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w", encoding="utf-8") as handle:
        log = log_on(handle)
        log.info("on the screen")
        assert os.read(ours, 1000).endswith(b"[info] on the screen\r\n")
        assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
        log.close()
    os.close(ours)


# ── nobody reads ──
@pytest.mark.parametrize("may_reopen", [True, False], ids=["own pipe", "another user's pipe"])
@pytest.mark.parametrize("size", [100, 30_000])
def test_a_reader_that_stops_reading_stops_nobody_and_learns_what_it_missed(
    pipe: tuple[int, IO[str]], size: int, may_reopen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, handle = pipe
    if not may_reopen:
        deny_reopening(monkeypatch)
    log = log_on(handle)
    with deadline(5.0):
        for turn in range(2000):
            log.info(f"{turn} " + "x" * size)
    lost = log.dropped
    assert lost > 1000
    assert not fcntl.fcntl(handle.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK  # others have this open file too
    os.set_blocking(reader, False)
    shown = b""
    with suppress(BlockingIOError):
        while True:
            shown += os.read(reader, 65536)
    log.info("there again")
    shown += os.read(reader, 65536)
    assert log.dropped == lost
    lines = shown.decode().splitlines()
    whole = [line for line in lines if re.search(rf"\] \d+ x{{{size}}}$", line)]
    assert len(whole) == 2000 - lost
    told = [
        int(found[1])
        for found in re.finditer(r"\[warn\] (\d+) log records were lost \(its reader does not", shown.decode())
    ]
    assert sum(told) == lost  # the last bytes of the pipe may have taken a first note of it
    last = rf"\[[^]]*\] \[\d+\] \[warn\] {told[-1]} log records were lost \(its reader does not read\)"
    assert re.fullmatch(last, lines[-2])  # on a line of its own, whatever was torn before
    assert lines[-1].endswith("[info] there again")
    assert len(lines) - len(whole) - len(told) in (1, 2)  # besides the last at most one that was torn
    log.close()


def test_a_reader_that_is_gone_loses_records_and_nothing_else(pipe: tuple[int, IO[str]]) -> None:
    _, handle = pipe
    log = log_on(handle)
    log.open()

    def work() -> int:
        return log.dropped

    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as closing:
        gone = log_on(closing)
        gone.open()
        os.close(reader)
        gone.info("lost")
        assert gone.dropped == 1
        gone.close()
    assert work() == 0
    log.close()


def test_a_socket_whose_peer_does_not_read_stops_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with ours.makefile("w") as handle:
        log = log_on(handle)
        log.info("first")
        assert theirs.recv(1000).endswith(b"[info] first\n")
        with deadline(10.0):
            for _ in range(3000):
                log.info("x" * 3000)
        assert log.dropped > 100
        log.close()


def test_thirty_kilobytes_of_several_writers_do_not_mix_on_a_pipe(pipe: tuple[int, IO[str]]) -> None:
    reader, handle = pipe
    log = log_on(handle)
    log.open()
    pids = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            log.info(chr(ord("a") + number) * 30_000)
            os._exit(min(log.dropped, 255))
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.set_blocking(reader, False)
    shown = b""
    with suppress(BlockingIOError):
        while True:
            shown += os.read(reader, 65536)
    whole = [line for line in shown.decode().splitlines() if re.search(r"\] (\w)\1{29999}$", line)]
    assert len(whole) == codes.count(0) >= 2  # 64 KiB hold two
    log.close()
