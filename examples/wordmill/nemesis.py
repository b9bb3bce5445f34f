"""What is done to the ghost while it works: kills, stops, more and fewer spirits, a reload, a log rotation.

Rule: every choice comes from the seed; the share of the work that is done is the clock. Signals go through a pidfd to a
process that is still a child of the manager, never to a number that may belong to somebody else by now.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from random import Random

STATES = {"R": "works", "S": "waits", "D": "waits", "T": "stopped", "t": "stopped", "Z": "ended", "X": "ended"}


@dataclass(frozen=True, slots=True)
class Process:
    """One process; pid and start time together are never used again."""

    pid: int
    state: str
    parent: int
    started: int  # clock ticks since the machine was booted


class Blow(Enum):
    """One thing that is done to the ghost."""

    KILL = "SIGKILL to a spirit"
    STOP = "SIGSTOP to a spirit"
    MORE = "TTIN to the manager: one spirit more"
    FEWER = "TTOU to the manager: one spirit fewer"
    RELOAD = "reload: a new generation of spirits"
    ROTATE = "log renamed, USR1 to the manager"


PORTION = {Blow.KILL: 8, Blow.STOP: 2, Blow.MORE: 2, Blow.FEWER: 2, Blow.RELOAD: 1, Blow.ROTATE: 1}


@dataclass(frozen=True, slots=True)
class Planned:
    """A blow, due when this share of the work is done; ``pick`` in [0, 1) chooses among the spirits living then."""

    share: float
    blow: Blow
    pick: float


def plan(seed: int, portion: dict[Blow, int] | None = None, first: float = 0.03, last: float = 0.85) -> list[Planned]:
    """All blows in their order, evenly spread from the first to the last share of the work."""
    chance = Random(seed)
    blows = list(Counter(PORTION if portion is None else portion).elements())
    chance.shuffle(blows)
    step = (last - first) / max(1, len(blows) - 1)
    return [Planned(first + number * step, blow, chance.random()) for number, blow in enumerate(blows)]


@dataclass(slots=True)
class Nemesis:
    """Strikes by plan at the ghost with this manager."""

    manager: int
    planned: list[Planned]
    log: Path
    rotated: Path
    reload: Callable[[], object]

    def strike(self, share: float) -> tuple[Blow, str] | None:
        """Do the next blow if it is due; what was done and to whom. None: nothing is due, or nobody is there to hit."""
        if not self.planned or self.planned[0].share > share:
            return None
        done = self._do(self.planned[0])
        if done is None:
            return None
        return self.planned.pop(0).blow, done

    def _do(self, planned: Planned) -> str | None:
        blow = planned.blow
        match blow:
            case Blow.KILL:
                return self._signal_one(planned, signal.SIGKILL)
            case Blow.STOP:
                return self._signal_one(planned, signal.SIGSTOP)
            case Blow.MORE:
                os.kill(self.manager, signal.SIGTTIN)
            case Blow.FEWER:
                os.kill(self.manager, signal.SIGTTOU)
            case Blow.RELOAD:
                self.reload()
            case Blow.ROTATE:
                self.log.rename(self.rotated)
                os.kill(self.manager, signal.SIGUSR1)
        return str(blow.value)

    def _signal_one(self, planned: Planned, signum: signal.Signals) -> str | None:
        living = [process for process in spirits_of(self.manager) if process.state in ("works", "waits")]
        if not living:
            return None
        victim = living[int(planned.pick * len(living))]
        return f"{signum.name} to the spirit with pid {victim.pid}" if _send(victim, signum) else None


def spirits_of(manager: int) -> list[Process]:
    """The children of the manager, the lowest pid first."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [process for pid in pids if (process := look(pid)) and process.parent == manager]


def look(pid: int) -> Process | None:
    """What /proc says of a process; None when there is none."""
    with suppress(FileNotFoundError, ProcessLookupError):
        # The name in parentheses may contain anything, so the fields are counted from its end: proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return Process(pid, STATES.get(fields[0], "waits"), int(fields[1]), int(fields[19]))
    return None


def _send(process: Process, signum: signal.Signals) -> bool:
    """Send the signal unless the process has ended; False when it has."""
    with suppress(ProcessLookupError), ExitStack() as stack:
        fd = os.pidfd_open(process.pid)
        stack.callback(os.close, fd)
        now = look(process.pid)
        if now is not None and now.started == process.started:
            signal.pidfd_send_signal(fd, signum)
            return True
    return False
