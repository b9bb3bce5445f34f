"""The system log: one datagram a record, nothing that waits, and stderr where there is none."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ghostd.errors import OptionError
from ghostd.linux import fds
from ghostd.log import Log, LogOptions, syslog
from ghostd.log.syslog import SyslogSink
from tests.support import deadline
from tests.unit.linux.forks import in_child


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def listen(address: str) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address)
    listener.settimeout(5)
    return listener


@pytest.fixture
def daemon(address: str) -> Iterator[socket.socket]:
    with listen(address) as listener:
        yield listener


def sink(address: str, ident: str = "ghost", facility: str = "user", opts: str = "ndelay,pid") -> SyslogSink:
    return SyslogSink(ident, facility, LogOptions(logopt=opts).opts, address)


def on_stderr(work: object) -> tuple[str, object]:
    """What the work writes to stderr, and what it gives."""
    reader, writer = os.pipe()

    def run() -> object:
        os.dup2(writer, 2)
        assert callable(work)
        return work()

    result = in_child(run)
    os.close(writer)
    with open(reader, encoding="utf-8") as shown:
        return shown.read(), result


# ── with a daemon ──
def test_a_record_is_a_datagram_as_syslog_has_it(address: str, daemon: socket.socket) -> None:
    one = sink(address)
    one.put("info", "Manager 7 started", {"seat": 2})
    wanted = rb"<14>[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d ghost\[%d\]: Manager 7 started seat=2" % os.getpid()
    assert re.fullmatch(wanted, daemon.recv(4096))
    one.close()


@pytest.mark.parametrize(
    ("level", "facility", "priority"),
    [
        *((level, "user", 8 + number) for level, number in {"emerg": 0, "alert": 1, "crit": 2, "fatal": 2}.items()),
        *((level, "user", 8 + number) for level, number in {"error": 3, "warn": 4, "notice": 5, "info": 6}.items()),
        ("debug", "user", 15),
        ("trace", "user", 15),  # syslog has nothing below debug
        ("info", "kern", 6),
        ("info", "daemon", 30),
        ("info", "local7", 190),
    ],
)
def test_the_priority_is_facility_and_level(
    address: str, daemon: socket.socket, level: str, facility: str, priority: int
) -> None:
    one = sink(address, facility=facility)
    one.put(level, "x", {})
    assert daemon.recv(4096).startswith(b"<%d>" % priority)
    one.close()


def test_the_tag_has_the_pid_only_when_asked(address: str, daemon: socket.socket) -> None:
    one = sink(address, ident="my%d ghost\n", opts="ndelay")
    one.put("info", "x", {})
    assert daemon.recv(4096).endswith(b" my%d ghost\\n: x")
    one.close()


def test_no_text_makes_a_second_record(address: str, daemon: socket.socket) -> None:
    one = sink(address)
    one.put("info", "x\n<0>forged\0", {})
    assert daemon.recv(4096).endswith(b": x\\n<0>forged\\x00")
    one.put("error", "failed", {}, ("Traceback:", "  line"))
    assert [daemon.recv(4096).rpartition(b"]: ")[2] for _ in range(3)] == [b"failed", b"Traceback:", b"  line"]
    one.close()


def test_perror_writes_to_stderr_as_well(address: str, daemon: socket.socket) -> None:
    shown, _ = on_stderr(lambda: sink(address, opts="perror").put("info", "both", {}))
    assert shown.endswith("[info] both\n")
    assert daemon.recv(4096).endswith(b"ghost: both")


def test_a_daemon_that_was_started_anew_is_found_again(address: str) -> None:
    one = sink(address)
    with listen(address) as daemon:
        one.put("info", "one", {})
        assert daemon.recv(4096).endswith(b"one")
    with listen(address) as daemon:
        one.put("info", "two", {})
        assert daemon.recv(4096).endswith(b"two")
        one.reopen()
        assert one.descriptors() == ()
        one.put("info", "three", {})
        assert daemon.recv(4096).endswith(b"three")
        (fd,) = one.descriptors()
        assert not os.get_inheritable(fd)
    one.close()


def test_a_daemon_that_is_stuck_blocks_nobody(address: str, daemon: socket.socket) -> None:
    one = sink(address)
    lost = 0
    with deadline(10.0):
        for _ in range(1000):
            try:
                one.put("info", "x", {})
            except BlockingIOError:
                lost += 1
    assert 0 < lost < 1000
    one.close()


# ── without ──
def test_without_a_system_log_the_records_go_to_stderr_and_that_is_said_once(address: str) -> None:
    def work() -> None:
        one = sink(address)
        one.put("info", "one", {})
        one.put("info", "two", {"seat": 3})
        one.put("error", "three", {}, ("more",))

    shown, _ = on_stderr(work)
    texts = [line.partition("] [")[2].partition("] ")[2] for line in shown.splitlines()]
    assert texts[0].startswith(
        f"[warn] no system log at {address} (No such file or directory): the log goes to stderr;"
    )
    assert texts[1:] == ["[info] one", "[info] two seat=3", "[error] three", "[error] more"]


def test_without_both_a_record_is_lost_and_not_kept_quiet(address: str) -> None:
    def work() -> str:
        os.close(2)
        with pytest.raises(OSError, match=r"no system log at .* and no stderr") as told:
            sink(address).put("info", "x", {})
        return str(told.value.strerror)

    assert address in in_child(work)


def test_a_stderr_that_nobody_reads_blocks_nobody(address: str) -> None:
    reader, writer = os.pipe()

    def work() -> int:
        os.dup2(writer, 2)
        one, lost = sink(address), 0
        for _ in range(2000):
            try:
                one.put("info", "x" * 50, {})
            except OSError:
                lost += 1
        return lost

    with deadline(5.0):
        assert in_child(work) > 1000
    os.close(reader)
    os.close(writer)


def test_a_system_log_that_comes_later_is_found(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "_RETRY_EVERY", 0.0)

    def work() -> None:
        one = sink(address)
        one.put("info", "early", {})
        with listen(address) as daemon:
            one.put("info", "late", {})
            assert daemon.recv(4096).endswith(b"late")

    shown, _ = on_stderr(work)
    assert shown.count("\n") == 2
    assert "early" in shown


def test_whether_there_is_a_system_log_can_be_asked_without_a_record(address: str) -> None:
    before = fds.census()
    assert sink(address).missing() == f"no system log at {address} (No such file or directory)"
    with listen(address) as daemon:
        assert sink(address).missing() == ""
        daemon.setblocking(False)
        with pytest.raises(BlockingIOError):
            daemon.recv(1)
    assert sink(address).missing() == f"no system log at {address} (Connection refused)"
    assert fds.census() == before


def test_who_has_left_stderr_loses_and_counts_its_records_and_tells_their_number_when_a_system_log_comes(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "ADDRESS", address)
    monkeypatch.setattr(syslog.SyslogSink.__init__, "__defaults__", (address,))
    monkeypatch.setattr(syslog, "_RETRY_EVERY", 0.0)

    def work() -> int:
        log = Log(LogOptions(logopt="pid,perror"), name="ghost")
        log.leave_stderr()
        log.info("one")
        log.error("two")
        with listen(address) as daemon:
            log.info("three")
            texts = [daemon.recv(4096).rpartition(b"]: ")[2] for _ in range(2)]
        assert texts[0] == b"2 log records were lost (no system log at %s and no stderr)" % address.encode()
        assert texts[1] == b"three"
        log.info("four")
        with listen(address) as daemon:
            log.info("five")
            assert daemon.recv(4096).endswith(b"1 log records were lost (Connection refused)")
        return log.dropped

    shown, lost = on_stderr(work)
    assert (shown, lost) == ("", 3)


def test_it_has_no_descriptor_for_stdio_and_leaks_none(address: str) -> None:
    before = fds.census()
    one = sink(address)
    one.open()
    one.give_to(0, 0)
    assert Log().fileno() is None
    shown, _ = on_stderr(lambda: one.put("info", "x", {}))
    assert shown
    one.close()
    assert fds.census() == before


@pytest.mark.parametrize("wrong", [{"facility": "users"}, {"logopt": "pid,foo"}, {"ident": ""}], ids=str)
def test_a_mistake_is_found_before_anything_is_opened(wrong: dict[str, str]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(OptionError, match=f"option {name}: {value!r} is not allowed; it takes"):
        LogOptions(**wrong)
