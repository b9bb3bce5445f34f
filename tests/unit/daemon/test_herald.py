"""What the init system and probes are told: each change once, in few datagrams, and again when there was no room."""

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostd.core.policy import Policy
from ghostd.daemon.herald import AGAIN, QUIET, RUNNING, STARTING, STOPPING, Herald, Limits, Tidings, Word
from ghostd.daemon.notify import Notifier
from ghostd.daemon.options import DaemonOptions
from ghostd.daemon.ready import ReadyFile
from tests.ears import Ears

LIMITS = Limits(start=125.0, reload=250.0, stop=130.0)


@pytest.fixture
def init(tmp_path: Path) -> Iterator[Ears]:
    made = Ears(tmp_path / "notify")
    yield made
    made.close()


def heard(init: Ears) -> list[dict[str, str]]:
    """What was told since it was last asked."""
    return [one.says for one in init.read()]


def herald(init: Ears, watchdog: float = 0.0, log: list[tuple[str, str]] | None = None, ready: str = "") -> Herald:
    file = ReadyFile(ready)
    if ready:
        file.make()
    lines = [] if log is None else log
    made = Herald(file, LIMITS)
    made.begin(Notifier(init.address, watchdog), lambda *line: lines.append(line))
    return made


def up(status: str = "4 of 4", reloads: int = 0) -> Tidings:
    return Tidings(Word.UP, status, is_serving=True, reloads=reloads)


# ── telling ──
def test_a_start_is_told_with_how_long_it_may_take_and_ready_once(init: Ears) -> None:
    told = herald(init)
    assert told.tell(STARTING, 0.0) == math.inf
    assert heard(init) == [{"STATUS": "starting", "EXTEND_TIMEOUT_USEC": "125000000"}]
    told.tell(Tidings(Word.STARTING, "starting: 1 of 4"), 1.0)
    assert heard(init) == [{"STATUS": "starting: 1 of 4", "EXTEND_TIMEOUT_USEC": "125000000"}]
    told.tell(up(), 1.1)
    assert heard(init) == [{"READY": "1", "STATUS": "4 of 4", "MAINPID": str(os.getpid())}]


def test_nothing_is_told_while_nothing_changes(init: Ears) -> None:
    told = herald(init)
    told.tell(up(), 0.0)
    heard(init)
    assert {told.tell(up(), float(moment)) for moment in range(1, 100)} == {math.inf}
    assert heard(init) == []


def test_a_flood_of_changes_costs_two_status_lines_a_second_and_ends_with_what_is(init: Ears) -> None:
    told = herald(init)
    told.tell(up("0"), 0.0)
    heard(init)
    due = math.inf
    for step in range(1, 1200):
        due = told.tell(up(str(step)), step / 1000)
    assert [one["STATUS"] for one in heard(init)] == ["500", "1000"]
    assert due == 1.0 + QUIET
    assert told.tell(up("1199"), due) == math.inf
    assert [one["STATUS"] for one in heard(init)] == ["1199"]


def test_a_reload_is_told_at_its_begin_and_at_its_end(init: Ears) -> None:
    told = herald(init)
    told.tell(up(), 0.0)
    heard(init)
    told.tell(Tidings(Word.RELOADING, "reloading: 0 of 4"), 0.1)
    (begun,) = heard(init)
    assert begun.pop("MONOTONIC_USEC").isdecimal()
    assert begun == {"RELOADING": "1", "STATUS": "reloading: 0 of 4", "EXTEND_TIMEOUT_USEC": "250000000"}
    told.tell(Tidings(Word.RELOADING, "reloading: 2 of 4"), 5.0)
    assert heard(init) == [{"STATUS": "reloading: 2 of 4", "EXTEND_TIMEOUT_USEC": "250000000"}]
    told.tell(up("4 of 4, new", reloads=1), 5.1)
    assert [one.get("READY") for one in heard(init)] == ["1"]
    assert told.tell(up("4 of 4, new", reloads=1), 6.0) == math.inf
    assert heard(init) == []


def test_a_reload_that_is_over_before_anybody_looked_is_told_all_the_same(init: Ears) -> None:
    told = herald(init)
    told.tell(up(), 0.0)
    heard(init)
    told.tell(up(reloads=1), 0.1)
    assert [next(iter(one)) for one in heard(init)] == ["RELOADING", "READY"]
    told.tell(up(reloads=1), 1.0)
    assert heard(init) == []


def test_a_stop_is_told_with_how_long_it_may_take(init: Ears) -> None:
    told = herald(init)
    told.tell(up(), 0.0)
    heard(init)
    told.tell(STOPPING, 0.01)
    assert heard(init) == [{"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": "130000000"}]


def test_what_the_init_system_has_no_room_for_is_told_again_soon_as_it_is_by_then(init: Ears) -> None:
    told = herald(init)
    init.fill()
    assert told.tell(up("3 of 4"), 0.0) == AGAIN
    assert told.tell(up("3 of 4"), AGAIN) == 2 * AGAIN
    heard(init)
    assert told.tell(up("4 of 4"), 2 * AGAIN) == math.inf
    assert [(one["READY"], one["STATUS"]) for one in heard(init)] == [("1", "4 of 4")]


def test_both_words_of_a_short_reload_come_through_when_there_is_room_for_one_only(init: Ears) -> None:
    told = herald(init)
    told.tell(up(), 0.0)
    init.fill()
    assert told.tell(up(reloads=1), 1.0) == 1.0 + AGAIN
    init.read_one()  # room for one
    due = told.tell(up(reloads=1), 2.0)
    first = heard(init)
    assert due == 2.0 + AGAIN
    assert told.tell(up(reloads=1), 3.0) == math.inf
    words = [next(iter(one)) for one in [*first, *heard(init)]]
    assert words[-2:] == ["RELOADING", "READY"]


def test_without_an_init_system_nobody_is_woken() -> None:
    told = Herald(ReadyFile(""), LIMITS)
    told.begin(Notifier(None, 3.0), print)
    assert told.tell(STARTING, 0.0) == math.inf
    assert told.tell(RUNNING, 0.0) == math.inf


def test_an_init_system_that_is_gone_wakes_nobody(tmp_path: Path) -> None:
    told = Herald(ReadyFile(""), LIMITS)
    told.begin(Notifier(str(tmp_path / "gone")), print)
    assert told.tell(RUNNING, 0.0) == math.inf


def test_the_limits_are_those_of_the_options() -> None:
    assert Limits.of(Policy(boot_timeout=30.0, graceful_timeout=60.0), DaemonOptions()) == Limits(35.0, 100.0, 65.0)
    assert Limits.of(Policy(drain_delay=7.0, graceful_timeout=60.0), DaemonOptions()).stop == 72.0
    assert Limits.of(Policy(), DaemonOptions(start_timeout=400.0)).start == 400.0


# ── the watchdog ──
def test_the_watchdog_hears_twice_in_its_time_and_no_more(init: Ears) -> None:
    told = herald(init, watchdog=3.0)
    assert told.tell(up(), 0.0) == 1.5
    assert told.tell(up(), 0.7) == 1.5
    assert told.tell(up(), 1.5) == 3.0
    assert [one for one in heard(init) if "WATCHDOG" in one] == [{"WATCHDOG": "1"}] * 2


def test_the_watchdog_does_not_hear_of_a_pool_that_is_not_healthy(init: Ears) -> None:
    told = herald(init, watchdog=3.0)
    told.tell(up(), 0.0)
    heard(init)
    sick = Tidings(Word.UP, "degraded: 0 of 4", is_healthy=False)
    assert told.tell(sick, 1.5) == math.inf
    assert [one for one in heard(init) if "WATCHDOG" in one] == []
    assert told.tell(up(), 9.0) == 10.5
    assert {"WATCHDOG": "1"} in heard(init)


def test_a_ping_that_found_no_room_is_sent_again_soon(init: Ears) -> None:
    told = herald(init, watchdog=30.0)
    told.tell(up(), 0.0)
    init.fill()
    assert told.tell(up(), 15.0) == 15.0 + AGAIN
    heard(init)
    assert told.tell(up(), 15.0 + AGAIN) == 30.0 + AGAIN


# ── the ready file ──
def test_the_ready_file_says_whether_the_ghost_can_work(init: Ears, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    told = herald(init, ready=str(path))
    sizes = []
    for tidings in (STARTING, up(), Tidings(Word.RELOADING, "", is_serving=True), Tidings(Word.UP, ""), up(), STOPPING):
        told.tell(tidings, 0.0)
        sizes.append(path.stat().st_size > 0)
    assert sizes == [False, True, True, False, True, False]


def test_a_ready_file_that_cannot_be_written_is_complained_of_once_and_ends_nobody(init: Ears) -> None:
    log: list[tuple[str, str]] = []
    told = herald(init, log=log)
    told._ready._fd = os.open("/dev/full", os.O_RDONLY)
    for _ in range(3):
        told.tell(up(), 0.0)
    told._ready.close()
    assert log == [("error", "Ready file  cannot be written: Invalid argument")]


# ── what outlives a manager ──
def test_descriptors_are_handed_over_once_and_given_back_by_name(init: Ears) -> None:
    told = herald(init)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        told.keep([("ghostd=a", one.fileno()), ("ghostd=b", other.fileno())])
        for moment in range(3):
            told.tell(up(), float(moment))
        told.release()
        told.tell(up(), 3.0)
    handed = [(next(iter(one.says)), one.says.get("FDNAME"), len(one.fds)) for one in init.read()]
    assert [one for one in handed if one[1]] == [
        ("FDSTORE", "ghostd=a", 1),
        ("FDSTORE", "ghostd=b", 1),
        ("FDSTOREREMOVE", "ghostd=a", 0),
        ("FDSTOREREMOVE", "ghostd=b", 0),
    ]


def test_descriptors_that_found_no_room_are_handed_over_later(init: Ears) -> None:
    told = herald(init)
    told.tell(up(), 0.0)
    init.fill()
    with socket.create_server(("127.0.0.1", 0)) as one:
        told.keep([("ghostd=a", one.fileno())])
        assert told.tell(up(), 1.0) == 1.0 + AGAIN
        init.read()
        assert told.tell(up(), 2.0) == math.inf
    assert [len(one.fds) for one in init.read() if "FDSTORE" in one.says] == [1]
