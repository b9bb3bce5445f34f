"""The judge of the soak: it finds nothing in a history in which all promises were kept, and each promise broken.

Rule: a history that was made up in, findings out.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import pytest

from ghostd.errors import ExitCode
from tests.faults.soak import history as h
from tests.faults.soak.judge import SETTLE, Facts, judge, outages, tally
from tests.faults.soak.kinds import APART, GHOSTS, KINDS, MILL, WEB, plan
from tests.faults.soak.strikes import STRIKES

if TYPE_CHECKING:
    from pathlib import Path

END: Final = 60.0


def requests(begin: float = 0.0, end: float = END, first: int = 1) -> list[h.Any]:
    """One every half second, answered at once."""
    found: list[h.Any] = []
    for number in range(int((end - begin) * 2)):
        sent = begin + number / 2
        found += [h.Request(first + number, sent, sent + 0.01), h.Served(first + number, 70)]
    return found


def jobs(begin: float = 0.0, end: float = END, first: int = 1) -> list[h.Any]:
    """One every half second, done soon."""
    found: list[h.Any] = []
    for number in range(int((end - begin) * 2)):
        at = begin + number / 2
        found += [h.Job(first + number, at), h.Done(first + number, at + 0.2)]
    return found


def fault(kind: str, ghost: str = WEB, at: float = 20.0, pids: tuple[int, ...] = (7,)) -> h.Fault:
    return h.Fault(ghost, kind, at, at + 1.0, at + 1.5, pids)


def stopped(pid: int, reason: str = "nobody had asked it to") -> str:
    return f"Spirit {pid} stopped (spirit 3, seat 2: killed by SIGKILL after 4.2 s, {reason})"


def killed(pid: int, reason: str) -> str:
    return f"Stopping spirit {pid} immediately (spirit 3, seat 2: {reason}, after 6 s)"


def silent(pid: int) -> str:
    return f"Spirit {pid} has no heartbeat (4 seconds), restarting (spirit 3, seat 2: asked for its stacks and to quit)"


STRUCK: Final[list[h.Any]] = [fault("rotate the log", ghost, 5.0) for ghost in GHOSTS]
FINE: Final = [*requests(), *jobs(), *STRUCK]


def log(text: str, at: float = 20.5, ghost: str = WEB, level: str = "error") -> h.Line:
    return h.Line(ghost, at, level, text)


EXPLAINED: Final[dict[str, list[h.Any]]] = {
    "nothing": [],
    "a request in the hands of one that was killed": [
        fault("kill a spirit"), h.Request(900, 20.0, 20.1, "ConnectionResetError"),
        log(stopped(7)),
    ],
    "a refusal while there was no manager": [fault("terminate the manager"), h.Request(900, 20.0, 20.1, "refused"),
                                             h.Ended(WEB, 20.2, 0)],
    "a silence of one that was stopped": [fault("stop a spirit"), log(silent(7)), log(killed(7, "no heartbeat"))],
    "a slow leave beside slow clients": [fault("slow clients"), log(killed(9, "did not leave in time"))],
    "a manager that was killed": [fault("kill the manager"), h.Ended(WEB, 20.0, -9)],
    "a start of which a spirit was killed": [fault("kill a spirit"), h.Ended(WEB, 20.5, ExitCode.BOOT_FAILED)],
    "what is refused until the next start": [
        fault("stop a spirit"), h.Ended(WEB, 22.0, ExitCode.BOOT_FAILED), h.Request(900, 23.5, 23.6, "refused"),
        h.Line(WEB, 24.0, "info", "Listening on 127.0.0.1:8080")],
    "a kept connection that was frozen for too long": [fault("freezer"), h.Request(900, 20.0, 25.0, "stale")],
    "a kept connection of one that was killed": [fault("kill a spirit"), h.Request(900, 20.0, 25.0, "stale")],
    "a start on a full disk": [fault("full disk", MILL), h.Unstarted(MILL, 20.5, "No space left on device")],
    "orphans that were frozen": [fault("freezer"), h.Orphans(WEB, 22.0, 2.1, (7,))],
    "a death of one that had too little memory": [fault("memory limit", pids=()), log(stopped(9))],
    "a death in an immediate stop": [log(killed(9, "stop at once")), log(stopped(9, "stop at once"))],
}  # fmt: skip

BROKEN: Final[dict[str, tuple[list[h.Any], str]]] = {
    "a request is lost": ([h.Request(900, 20.0, 20.1, "ConnectionResetError")], "without a cause"),
    "a request is lost by a reload": (
        [fault("reload"), h.Request(900, 20.0, 20.1, "ConnectionResetError")], "without a cause"),
    "a request is lost by what was done to the other ghost": (
        [fault("kill a spirit", MILL), h.Request(900, 20.0, 20.1, "ConnectionResetError")], "without a cause"),
    "a request is lost long after a fault": (
        [fault("kill a spirit"), h.Request(900, 21.6 + SETTLE, 30.0, "no answer")], "without a cause"),
    "a request is lost before a fault": (
        [fault("kill a spirit"), h.Request(900, 19.0, 19.5, "no answer")], "without a cause"),
    "a kept connection is closed by a reload": (
        [fault("reload"), h.Request(900, 20.0, 20.1, "stale")], "without a cause"),
    "a request on a fresh connection is lost by a freeze": (
        [fault("freezer"), h.Request(900, 20.0, 20.1, "ConnectionResetError")], "without a cause"),
    "a start ends with a bug": ([fault("full disk"), h.Ended(WEB, 20.5, ExitCode.BUG)], "with 70, without a cause"),
    "a connection is refused although the manager lives": (
        [fault("kill a spirit"), h.Request(900, 20.0, 20.1, "refused")], "refused"),
    "a request is served twice": ([h.Served(3, 71)], "request 3 was served 2 times"),
    "a request has two ends": ([h.Request(3, 1.0, 1.1)], "request 3 has 2 ends"),
    "a request is answered by nobody": ([h.Request(900, 1.0, 1.1)], "nobody has served it"),
    "a job is never done": ([h.Job(900, 59.0)], "job 900 of 59.000 was done 0 times"),
    "a job is done twice": ([h.Done(3, 5.0)], "was done 2 times"),
    "a job is done that nobody gave": ([h.Done(900, 5.0)], "nobody had asked for it"),
    "a result is wrong": ([h.Difference("x.py, round 3: stored 1")], "round 3: stored 1"),
    "a healthy spirit is called silent": ([fault("kill a spirit"), log(silent(7))], "nobody had stopped"),
    "another one than the stopped is called silent": ([fault("stop a spirit"), log(silent(8))], "nobody had stopped"),
    "one that was paused for less than the limit is called silent": (
        [fault("pause a spirit"), log(silent(7))], "nobody had stopped"),
    "a spirit is called silent because the manager slept": (
        [fault("pause the manager"), log(silent(7))], "nobody had stopped"),
    "a spirit is killed for a reload": ([fault("reload"), log(killed(7, "did not leave in time"))], "a kill without"),
    "a spirit is late at its birth": ([log("Spirit 7 is not ready (12 seconds), restarting")], "nobody had stopped"),
    "a spirit dies by itself": ([fault("kill a spirit"), log(stopped(8))], "a death without a cause"),
    "the manager dies": ([fault("kill a spirit"), h.Ended(WEB, 20.5, -11)], "without a cause"),
    "the manager dies in a stop": ([fault("terminate the manager"), h.Ended(WEB, 20.5, -11)], "by signal 11"),
    "the manager gives up": ([fault("kill all spirits"), h.Ended(WEB, 20.5, 70)], "ended at 20.500 with 70"),
    "a bug is told": ([log("GhostdBug: an illegal move")], "a bug"),
    "a start is refused": ([h.Unstarted(MILL, 20.5, "already running")], "could not be started"),
    "orphans stay": ([fault("kill the manager"), h.Orphans(WEB, 22.0, 2.1, (7,))], "lived 2.1 s after their manager"),
    "the pool is never whole again": ([h.Fault(WEB, "reload", 20.0, 20.5)], "was not whole again after: reload"),
    "something is left": ([h.Left("processes have outlived the stop")], "outlived the stop"),
}  # fmt: skip


def test_a_history_in_which_all_was_well_has_no_findings() -> None:
    assert judge(FINE) == []


@pytest.mark.parametrize("more", EXPLAINED.values(), ids=EXPLAINED)
def test_what_a_fault_explains_is_no_finding(more: list[h.Any]) -> None:
    assert judge([*FINE, *more]) == []


@pytest.mark.parametrize(("more", "said"), BROKEN.values(), ids=BROKEN)
def test_a_history_must_fail_in_which(more: list[h.Any], said: str) -> None:
    findings = judge([*FINE, *more])
    assert len(findings) == 1
    assert said in findings[0]


def test_a_ghost_to_which_nothing_was_done_has_proved_nothing() -> None:
    assert judge([*requests(), *jobs(), STRUCK[0]]) == ["nothing was done to web"]


# ── outages ──
def web_gap(begin: float, end: float) -> list[h.Any]:
    return [*requests(0.0, begin), *requests(end, END, first=500), *jobs(), *STRUCK]


def mill_gap(begin: float, end: float) -> list[h.Any]:
    # What is given meanwhile is done at the end of the gap.
    waiting: list[h.Any] = [h.Job(400, begin + 0.1), h.Done(400, end)]
    return [*jobs(0.0, begin), *waiting, *jobs(end, END, first=500), *requests(), *STRUCK]


@pytest.mark.parametrize("ghost", GHOSTS)
def test_an_outage_needs_a_cause(ghost: str) -> None:
    told = (web_gap if ghost == WEB else mill_gap)(20.0, 24.0)
    assert [outage.ghost for outage in outages(Facts.of(told))] == [ghost]
    assert "without a cause" in judge(told)[0]
    assert "without a cause" in judge([*told, fault("reload", ghost)])[0]
    assert judge([*told, fault("kill all spirits", ghost)]) == []


def test_an_outage_must_not_go_on_long_after_its_cause() -> None:
    told = [*web_gap(20.0, 30.0), fault("kill all spirits")]
    assert "that went on after kill all spirits" in judge(told)[0]


def test_an_outage_must_not_begin_before_its_cause() -> None:
    told = [*web_gap(10.0, 21.0), fault("kill all spirits")]
    assert "that began before kill all spirits" in judge(told)[0]


def test_a_machine_that_was_asleep_is_no_outage_of_a_ghost() -> None:
    assert judge([*web_gap(20.0, 24.0), h.Stall(20.1, 23.8)]) == []
    assert judge([*web_gap(20.0, 24.0), h.Stall(20.1, 21.0)]) != []


def test_a_mill_without_jobs_has_no_outage() -> None:
    assert judge([*jobs(0.0, 20.0), *jobs(40.0, END, first=500), *requests(), *STRUCK]) == []


def test_the_table_has_each_kind_with_its_outages() -> None:
    rows = {row[0]: row[1:] for row in tally(Facts.of([*web_gap(20.0, 24.0), fault("freezer")]))}
    assert list(rows) == list(KINDS)
    assert rows["freezer"] == (1, 4.5, 4.5)
    assert rows["reload"] == (0, 0.0, 0.0)
    assert rows["rotate the log"][0] == 2


# ── the plan, and the file ──
def test_a_seed_repeats_what_is_done_and_deals_each_kind_once_in_a_deck() -> None:
    for ghost in GHOSTS:
        first = list(islice(plan(7, ghost), 400))
        assert first == list(islice(plan(7, ghost), 400))
        assert first != list(islice(plan(8, ghost), 400))
        kinds = [kind for kind in KINDS if ghost in KINDS[kind].ghosts]
        dealt = [one.kind for struck in first for one in struck]
        assert set(dealt[: len(kinds)]) == set(kinds)
        assert not any(set(APART) <= {one.kind for one in struck} for struck in first)
        assert all(len({one.kind for one in struck}) == len(struck) for struck in first)


def test_there_are_twenty_kinds_and_each_can_be_done() -> None:
    assert len(KINDS) == 20
    assert list(STRIKES) == list(KINDS)
    assert {kind for kind in KINDS if WEB in KINDS[kind].ghosts} == set(KINDS)


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = [h.Begun(7, 1.0, "abc", {"freezer": "none"}), *FINE, *(one for more, _ in BROKEN.values() for one in more)]
    written = h.History(tmp_path / "history")
    for fact in told:
        written.add(fact)
    written.close()
    assert list(h.read(tmp_path / "history")) == told
