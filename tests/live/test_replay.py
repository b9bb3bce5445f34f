"""The virtual world is honest: the same history on real processes comes to the same orders, and to the same answers.

A history is drawn from a seed: what an operator and bad luck do to a pool, one thing after the other, each when the
last one has come to its end. It is played in the virtual kernel first; what the pool ordered there, step by step, is
what a real manager has to order for real processes.

Rule: what a real machine decides by its timing (which of two spirits is ready first, and so who gets which seat) is not
compared; what is ordered, how often, for what reason and of which generation is. Nor is it compared who takes which
request: the hands of all spirits are full when something happens, so how many are answered and dropped is no luck.
"""

import inspect
import os
import signal
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Final

import pytest

from ghostd.core import events as fact
from ghostd.core.actions import Action, Announce, News
from ghostd.core.phases import Generation, SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.testing.kernel import Kernel
from ghostd.testing.manager import Manager
from ghostd.testing.requests import AT_ONCE, Listener, Server
from ghostd.testing.spirits import Habits
from tests.live.harness import Stage, Subject
from tests.live.listening import connect, listening_on

pytestmark = pytest.mark.live

STEPS: Final = 8  # of a history, and a stop
OBEDIENT: Final = Habits(boot=0.02, period=0.1, finish=0.01)

# A ghost whose pool is as it is, and tells what it orders.
TELLING: Final = """\
from ghostd.core.actions import Action, Announce, News
from ghostd.core.pool import Pool

TOLD
plain = Pool.handle

def handle(self, events, now):
    orders = plain(self, events, now)
    for order in orders:
        for word in told(order):
            note("order", word)
    return orders

Pool.handle = handle
"""
BODY: Final = f"""{TELLING}
class Subject(Prefork):
    def spirit(self):
        note("begin", self.seat, self.generation)
        while self.tick():
            time.sleep(0.005)
"""
SERVING: Final = f"""{TELLING}
class Subject(Prefork):
    def spirit(self):
        note("begin", self.seat, self.generation)
        return super().spirit()

    async def connection(self, reader, writer):
        writer.write(b"begun")
        await reader.read()
        writer.write(b" done")
"""


class Deed(Enum):
    """What is done to a pool."""

    RELOAD = "reload"
    MORE = "one more"
    LESS = "one less"
    KILL = "SIGKILL to a spirit"
    QUIT = "SIGQUIT to a spirit"
    STOP = "stop"


SIGNALS: Final = {
    Deed.RELOAD: signal.SIGHUP,
    Deed.MORE: signal.SIGTTIN,
    Deed.LESS: signal.SIGTTOU,
    Deed.STOP: signal.SIGQUIT,
    Deed.KILL: signal.SIGKILL,
    Deed.QUIT: signal.SIGQUIT,
}


@dataclass(frozen=True, slots=True)
class Step:
    """A deed, against the spirit in this seat where it is against one."""

    deed: Deed
    seat: int


def drawn(seed: int) -> tuple[Policy, list[Step]]:
    """A pool, and what happens to it."""
    random = Random(seed)
    policy = Policy(spirits=random.randint(1, 4), spare=random.randint(0, 3), heartbeat_timeout=30.0, young=0.0)
    deeds = [random.choice([Deed.RELOAD, Deed.MORE, Deed.LESS, Deed.KILL, Deed.KILL, Deed.QUIT]) for _ in range(STEPS)]
    return policy, [Step(deed, random.randrange(4)) for deed in (*deeds, Deed.STOP)]


def told(order: Action) -> list[str]:
    """What is compared of an order: what, why and of which generation."""
    if isinstance(order, Announce):
        return [] if order.news is News.CREDITED else [f"{order.news.name}:{order.reason.name}"]
    generation = getattr(order, "generation", "")
    return [f"{type(order).__name__}:{order.reason.name}:{generation}"]


class Virtual:
    """A pool in the virtual kernel."""

    def __init__(self, policy: Policy) -> None:
        self.orders: list[str] = []
        self.kernel = Kernel(1000.0)
        self.manager = Manager(policy, self.kernel, Random(0), self._pool)
        self.manager.make_spirit = self._spirit
        self.listener = Listener(self.kernel, self.manager, Random(0))
        self.listener.close()  # clients come when they are told to

    def _pool(self, policy: Policy, now: float) -> Pool:
        orders = self.orders

        class Telling(Pool):
            def handle(self, events: Sequence[fact.Event], now: float) -> list[Action]:
                found = super().handle(events, now)
                orders.extend(word for order in found for word in told(order))
                return found

        return Telling(policy, now)

    def _spirit(self, spirit: SpiritId, _generation: Generation) -> Server:
        return Server(spirit, OBEDIENT, self.kernel, self.manager.random, self.manager.ring, self.listener)

    def settle(self, seconds: float = 10.0) -> Counter[str]:
        """Let time pass: what was ordered."""
        kernel, manager, until = self.kernel, self.manager, self.kernel.now + seconds
        while manager.halted is None and min(kernel.next_at, manager.wake_at) <= until:
            if kernel.next_at <= manager.wake_at:
                kernel.step()
            else:
                kernel.now = manager.wake_at
                manager.turn()
        kernel.now = max(kernel.now, until)
        found, self.orders[:] = Counter(self.orders), []
        return found

    def fill(self) -> int:
        """So many clients come that all spirits have their hands full: how many."""
        count = AT_ONCE * len(self.seats())
        for _ in range(count):
            self.listener.connect(takes=1.0)
        assert not self.settle(0.5), "nobody orders anything for it"
        assert not self.listener.queue
        return count

    def answered(self) -> tuple[int, int]:
        """How many were answered and dropped so far."""
        return self.listener.served, self.listener.dropped

    def seats(self) -> dict[int, int]:
        """The generation in each seat."""
        return {view.seat: view.generation for view in self.manager.pool.snapshot(self.kernel.now).spirits}

    def do(self, step: Step) -> None:
        """Let it happen."""
        now = self.kernel.now
        match step.deed:
            case Deed.RELOAD:
                self.manager.command(fact.ReloadAsked(now))
            case Deed.MORE | Deed.LESS:
                self.manager.command(fact.ScaleAsked(now, by=1 if step.deed is Deed.MORE else -1))
            case Deed.STOP:
                self.manager.command(fact.StopAsked(graceful=True, at=now))
            case Deed.KILL | Deed.QUIT:
                views = self.manager.pool.snapshot(now).spirits
                if views:
                    spirit = self.manager.spirits[views[step.seat % len(views)].spirit]
                    spirit.struck = step.deed is Deed.KILL
                    self.kernel.send(spirit, SIGNALS[step.deed])


def living(subject: Subject) -> dict[int, tuple[int, int]]:
    """The pid and generation of the last spirit that began in each seat, if it lives."""
    spirits = subject.spirits()
    begun = {int(note.more[0]): (note.pid, int(note.more[1])) for note in subject.notes("begin")}
    return {seat: found for seat, found in begun.items() if found[0] in spirits}


def do_for_real(subject: Subject, step: Step) -> None:
    if step.deed in (Deed.KILL, Deed.QUIT):
        seats = living(subject)
        if seats:
            os.kill(seats[sorted(seats)[step.seat % len(seats)]][0], SIGNALS[step.deed])
    else:
        subject.send(SIGNALS[step.deed])


def begin(stage: Stage, body: str, policy: Policy, **more: Any) -> Subject:  # noqa: ANN401  options
    """Run a ghost with this policy, which tells what its pool orders."""
    options: dict[str, Any] = {
        name: getattr(policy, name) for name in ("spirits", "spare", "heartbeat_timeout", "young")
    }
    return stage.run(body.replace("TOLD", inspect.getsource(told)), **options, **more)


class Comparison:
    """What both have done, step by step."""

    def __init__(self, virtual: Virtual, subject: Subject) -> None:
        self.virtual = virtual
        self.subject = subject
        self._count = 0

    def do(self, step: Step) -> None:
        """Let it happen to both."""
        self.virtual.do(step)
        do_for_real(self.subject, step)

    def check(self, step: Step | None) -> None:
        """Both have ordered the same since, and have the same spirits."""
        virtual, subject = self.virtual, self.subject
        expected = virtual.settle()
        notes = subject.wait_notes("order", self._count + expected.total())
        done = Counter(note.more[0] for note in notes[self._count :])
        assert done == expected, f"{step}: {subject.report()}"
        self._count = len(notes)
        generations = sorted(virtual.seats().values())
        if step is None or step.deed is not Deed.STOP:
            subject.wait_notes("begin", sum(word.startswith("Spawn") for word in all_words(subject)))
            assert sorted(generation for _, generation in living(subject).values()) == generations, step


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_same_history_on_real_processes_comes_to_the_same_orders(stage: Stage, seed: int) -> None:
    policy, steps = drawn(seed)
    both = Comparison(Virtual(policy), begin(stage, BODY, policy))
    both.check(None)
    for step in steps:
        both.do(step)
        both.check(step)
    assert both.subject.wait_end() == 0


@pytest.mark.parametrize("seed", range(11, 15))
def test_the_same_history_under_requests_comes_to_the_same_answers(stage: Stage, seed: int) -> None:
    policy, steps = drawn(seed)
    virtual, subject = Virtual(policy), begin(stage, SERVING, policy, listen="127.0.0.1:0", connections=AT_ONCE)
    both = Comparison(virtual, subject)
    (address,) = listening_on(subject)
    answered = dropped = hit = 0
    both.check(None)
    for step in steps:
        with ExitStack() as closing:
            crowd = [closing.enter_context(connect(address)) for _ in range(virtual.fill())]
            assert [one.recv(5) for one in crowd] == [b"begun"] * len(crowd)
            both.do(step)
            hit += step.deed is Deed.KILL and bool(crowd)
            for one in crowd:
                is_done = is_answered(one)
                answered, dropped = answered + is_done, dropped + (not is_done)
        both.check(step)
        assert (answered, dropped) == virtual.answered(), step
    assert dropped == AT_ONCE * hit
    assert subject.wait_end() == 0


def is_answered(client: socket.socket) -> bool:
    """Whether a client who has asked all is answered."""
    try:
        client.shutdown(socket.SHUT_WR)
        return client.recv(5) == b" done"
    except OSError:  # whoever had it in hand was killed
        return False


def all_words(subject: Subject) -> list[str]:
    return [note.more[0] for note in subject.notes("order")]
