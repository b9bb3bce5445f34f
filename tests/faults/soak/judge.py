"""Judges the history of a soak: nothing lost, nothing twice, no false kill, and every outage explained by a fault.

Rule: a pure function of the facts. A fault explains what its kind may excuse, to its own ghost, from the moment when it
was struck until the pool was whole again and a little longer; anything else is a finding.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ghostd.errors import ExitCode
from tests.faults.soak.history import (
    Any,
    Difference,
    Done,
    Ended,
    Fault,
    Job,
    Left,
    Line,
    Orphans,
    Request,
    Served,
    Stall,
    Unstarted,
)
from tests.faults.soak.kinds import GHOSTS, KINDS, MILL, SILENCE, UNBORN, WEB, Excuse, excuses_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SETTLE: Final = 3.0  # seconds after a pool was whole again in which what was before it may still come to light
EARLY: Final = 0.1  # seconds by which a clock may be read before the fault that it belongs to
# Seconds without an answer, or without a job done although there are some, that are an outage.
GAPS: Final = {WEB: 1.5, MILL: 2.5}
EXCUSED_BY: Final = {"refused": Excuse.REFUSED, "stale": Excuse.STALE}
ENDLESS: Final = float("inf")

_STOPPED: Final = re.compile(r"Spirit (\d+) stopped \(.*: (.+) after \S+ s, (.+)\)$")
_SILENT: Final = re.compile(r"Spirit (\d+) (?:has no heartbeat|is not ready)")
_KILLED: Final = re.compile(r"Stopping spirit (\d+) immediately \(.*: (.+), after")
_BUG: Final = re.compile(r"IllegalMove|GhostdBug|\bbug\b")
_BY_ITSELF: Final = "nobody had asked it to"


@dataclass(frozen=True, slots=True)
class Outage:
    """A ghost did nothing for its clients in this time."""

    ghost: str
    begin: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.begin


@dataclass(slots=True)
class Facts:
    """The history by kind of fact."""

    faults: list[Fault] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    served: Counter[int] = field(default_factory=Counter)
    jobs: dict[int, Job] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    consequences: list[Fault] = field(default_factory=list)

    @classmethod
    def of(cls, history: Iterable[Any]) -> Facts:
        facts = cls()
        for fact in history:
            match fact:
                case Fault():
                    facts.faults.append(fact)
                case Stall():
                    facts.stalls.append(fact)
                case Request():
                    facts.requests.append(fact)
                case Served():
                    facts.served[fact.number] += 1
                case Job():
                    facts.jobs[fact.number] = fact
                case Done():
                    facts.done.append(fact)
                case Line():
                    facts.lines.append(fact)
                case _:
                    facts.others.append(fact)
        facts.consequences = list(facts.unborn())
        return facts

    def unborn(self) -> Iterator[Fault]:
        """From the end of each manager that was refused its start to the next that listens."""
        listening = [line for line in self.lines if line.text.startswith("Listening on")]
        for fact in self.others:
            if isinstance(fact, Ended) and (fact.code or 0) > 0:
                later = [line.at for line in listening if line.ghost == fact.ghost and line.at > fact.at]
                yield Fault(fact.ghost, UNBORN, fact.at - SETTLE, fact.at, min(later, default=fact.at))

    def excusing(self, ghost: str, excuse: Excuse, begin: float, end: float) -> list[Fault]:
        """The faults that may have led to this in this time."""
        return [
            fault
            for fault in (*self.faults, *self.consequences)
            if fault.ghost == ghost
            and excuse in excuses_of(fault.kind)
            and fault.at - EARLY <= end
            and begin <= window_end(fault)
        ]


def window_end(fault: Fault) -> float:
    """Until when a fault explains what happens; one from which a pool never recovered is a finding of its own."""
    return ENDLESS if fault.whole is None else max(fault.whole, fault.until) + SETTLE


def judge(history: Iterable[Any]) -> list[str]:
    """Everything that is wrong; empty when all promises were kept."""
    facts = Facts.of(history)
    return [
        *_requests(facts),
        *_jobs(facts),
        *_outages(facts),
        *_lines(facts),
        *_recoveries(facts),
        *_others(facts),
    ]


# ── nothing lost, nothing twice ──
def _requests(facts: Facts) -> Iterator[str]:
    asked = Counter(request.number for request in facts.requests)
    yield from (f"request {number} has {count} ends" for number, count in asked.items() if count > 1)
    for request in facts.requests:
        times = facts.served[request.number]
        if times > 1:
            yield f"request {request.number} was served {times} times"
        if request.how == "answered":
            if not times:
                yield f"request {request.number} was answered, and nobody has served it"
            continue
        if not facts.excusing(WEB, EXCUSED_BY.get(request.how, Excuse.LOST), request.sent, request.ended):
            took = request.ended - request.sent
            yield f"request {request.number} at {request.sent:.3f}: {request.how} after {took:.3f} s, without a cause"


def _jobs(facts: Facts) -> Iterator[str]:
    times = Counter(done.number for done in facts.done)
    for number, job in facts.jobs.items():
        if times[number] != 1:
            yield f"job {number} of {job.at:.3f} was done {times[number]} times"
    yield from (f"job {number} was done, and nobody had asked for it" for number in times if number not in facts.jobs)


# ── outages ──
def outages(facts: Facts) -> list[Outage]:
    """When clients had to wait for longer than they should, by ghost."""
    return [*_web_outages(facts), *_mill_outages(facts)]


def _web_outages(facts: Facts) -> Iterator[Outage]:
    if not facts.requests:
        return
    answered = sorted(request.ended for request in facts.requests if request.how == "answered")
    ends = [min(request.sent for request in facts.requests), *answered, max(one.ended for one in facts.requests)]
    for begin, end in pairwise(ends):
        if end - begin > GAPS[WEB]:
            yield Outage(WEB, begin, end)


def _mill_outages(facts: Facts) -> Iterator[Outage]:
    steps = sorted([(job.at, 1) for job in facts.jobs.values()] + [(done.at, -1) for done in facts.done])
    waiting, since = 0, 0.0
    for at, step in steps:
        if waiting and step < 0 and at - since > GAPS[MILL]:
            yield Outage(MILL, since, at)
        if step < 0 or not waiting:
            since = at
        waiting += step


def causes(facts: Facts, outage: Outage) -> list[Fault]:
    """The faults that may have led to an outage."""
    return facts.excusing(outage.ghost, Excuse.OUTAGE, outage.begin, outage.end)


def _outages(facts: Facts) -> Iterator[str]:
    for outage in outages(facts):
        # While nobody watched it may have been shorter than it seemed, and the machine was to blame.
        asleep = sum(max(0.0, min(stall.until, outage.end) - max(stall.at, outage.begin)) for stall in facts.stalls)
        if outage.length - asleep <= GAPS[outage.ghost]:
            continue
        faults = causes(facts, outage)
        what = f"{outage.ghost} did nothing for {outage.length:.3f} s from {outage.begin:.3f}"
        if not faults:
            yield f"{what}, without a cause"
        elif outage.begin < min(fault.at for fault in faults) - GAPS[outage.ghost]:
            yield f"{what}, and that began before {', '.join(fault.kind for fault in faults)}"
        elif outage.end > max(map(window_end, faults)) + asleep:
            yield f"{what}, and that went on after {', '.join(fault.kind for fault in faults)}"


# ── no false kill ──
def _lines(facts: Facts) -> Iterator[str]:
    for line in facts.lines:
        if line.level == "torn":
            continue
        for is_true in (_false_silence, _false_kill, _death):
            if said := is_true(facts, line):
                yield f"{line.ghost} at {line.at:.3f}, {said}: {line.text}"
        if _BUG.search(line.text):
            yield f"{line.ghost} at {line.at:.3f}, a bug: {line.text}"


def _false_silence(facts: Facts, line: Line) -> str:
    found = _SILENT.match(line.text)
    if not found:
        return ""
    pid = int(found[1])
    hit = [one for one in facts.excusing(line.ghost, Excuse.SILENT, line.at, line.at) if pid in one.pids]
    # One that was to be continued in time, but was not.
    hit += [
        one
        for one in facts.faults
        if one.kind == "pause a spirit" and pid in one.pids and one.until - one.at > SILENCE - 1.0
    ]
    return "" if hit else "a spirit that nobody had stopped"


def _false_kill(facts: Facts, line: Line) -> str:
    found = _KILLED.match(line.text)
    if not found or found[2] in ("no heartbeat", "stop at once"):  # the first has had its line before
        return ""
    if facts.excusing(line.ghost, Excuse.SLOW_LEAVE, line.at, line.at):
        return ""
    return "a kill without a cause"


def _death(facts: Facts, line: Line) -> str:
    found = _STOPPED.match(line.text)
    if not found or found[3] != _BY_ITSELF:
        return ""
    pid = int(found[1])
    for fault in facts.excusing(line.ghost, Excuse.DEATH, line.at, line.at):
        if pid in fault.pids or fault.kind == "memory limit":
            return ""
    return "a death without a cause"


# ── always whole again, and honest ends ──
def _recoveries(facts: Facts) -> Iterator[str]:
    for fault in facts.faults:
        if fault.whole is None:
            yield f"{fault.ghost} was not whole again after: {fault.kind} at {fault.at:.3f}"
    struck = {fault.ghost for fault in facts.faults}
    yield from (f"nothing was done to {ghost}" for ghost in GHOSTS if ghost not in struck)


def _others(facts: Facts) -> Iterator[str]:
    for fact in facts.others:
        match fact:
            case Ended():
                yield from _end(facts, fact)
            case Unstarted() if not facts.excusing(fact.ghost, Excuse.NO_START, fact.at, fact.at):
                yield f"{fact.ghost} could not be started at {fact.at:.3f}: {fact.text}"
            case Orphans() if not _were_held(facts, fact):
                yield f"{fact.ghost}: {fact.pids} lived {fact.after:g} s after their manager, at {fact.at:.3f}"
            case Difference() | Left():
                yield fact.text


def _end(facts: Facts, fact: Ended) -> Iterator[str]:
    if not any(facts.excusing(fact.ghost, excuse, fact.at, fact.at) for excuse in _ends_for(fact.code)):
        yield f"the manager of {fact.ghost} ended at {fact.at:.3f} with {fact.code}, without a cause"
    elif fact.code is not None and fact.code < 0 and fact.code != -9:
        yield f"the manager of {fact.ghost} ended at {fact.at:.3f} by signal {-fact.code}"


def _ends_for(code: int | None) -> tuple[Excuse, ...]:
    # Before its pool was ever whole a death ends it: that is promised. So does one of the process that tries options.
    if code in (ExitCode.BOOT_FAILED, ExitCode.SYSTEM):
        return (Excuse.DEATH, Excuse.NO_START)
    if code == ExitCode.BUG:
        return ()
    return (Excuse.NO_START,) if (code or 0) > 0 else (Excuse.END,)


def _were_held(facts: Facts, fact: Orphans) -> bool:
    """One that is frozen or gets no processor cannot end."""
    return any(
        fault.ghost == fact.ghost
        and fault.kind in ("freezer", "processor quota")
        and fault.at <= fact.at
        and fact.at - fact.after <= fault.until
        for fault in facts.faults
    )


def tally(facts: Facts) -> Sequence[tuple[str, int, float, float]]:
    """Each kind with how often it was done, and the longest and all outages that it may have led to, in seconds."""
    times = Counter(fault.kind for fault in facts.faults)
    longest: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    summed: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for outage in outages(facts):
        for kind in {fault.kind for fault in causes(facts, outage)} & KINDS.keys():
            longest[kind] = max(longest[kind], outage.length)
            summed[kind] += outage.length
    return [(kind, times[kind], longest[kind], summed[kind]) for kind in KINDS]
