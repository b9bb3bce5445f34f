"""Requests in the virtual world: who takes them, what becomes of them, and that each check of them can fail."""

import signal
from random import Random
from typing import Final

import pytest

from ghostd.core.phases import SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.exits import Exit
from ghostd.testing.kernel import FOREVER, Kernel, Status
from ghostd.testing.manager import Manager
from ghostd.testing.promises import Promise, Violation
from ghostd.testing.requests import AT_ONCE, BACKLOG, Listener, Request, Server
from ghostd.testing.spirits import Habits, Spirit
from ghostd.testing.world import Mode, World


# ── one listener, without a pool ──
class Street:
    """A listener, and spirits that do what they are told."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.manager = Manager(Policy(), self.kernel, Random(0), Pool)
        self.listener = Listener(self.kernel, self.manager, Random(0))
        self.listener.close()

    def server(self, finish: float = 0.0, period: float = FOREVER) -> Server:
        number = SpiritId(len(self.kernel.table) + 1)
        habits = Habits(boot=FOREVER if period == FOREVER else 0.0, finish=finish, period=period)
        one = Server(number, habits, self.kernel, Random(0), lambda _: None, self.listener)
        assert not self.kernel.fork(one)
        one.live()
        self.pass_time(0.0)
        one.say_ready()
        return one

    def pass_time(self, seconds: float) -> None:
        until = self.kernel.now + seconds
        while self.kernel.next_at <= until:
            self.kernel.step()
        self.kernel.now = until

    def books(self) -> tuple[int, int, int]:
        self.listener.account()
        return self.listener.served, self.listener.dropped, len(self.listener.queue)


@pytest.fixture
def street() -> Street:
    return Street()


def test_what_comes_waits_until_somebody_is_ready(street: Street) -> None:
    street.listener.connect(1.0)
    street.pass_time(100.0)
    assert street.books() == (0, 0, 1)
    street.server()
    street.pass_time(1.0)
    assert street.books() == (1, 0, 0)


def test_a_spirit_takes_no_more_than_it_can_have_in_hand_and_another_takes_the_rest(street: Street) -> None:
    one = street.server()
    for _ in range(AT_ONCE + 1):
        street.listener.connect(1.0)
    street.pass_time(0.0)
    assert (len(one.hand), len(street.listener.queue)) == (AT_ONCE, 1)
    two = street.server()
    assert (len(two.hand), len(street.listener.queue)) == (1, 0)


def test_one_that_leaves_takes_no_more_and_ends_when_it_has_finished(street: Street) -> None:
    one = street.server(finish=0.5)
    street.listener.connect(3.0)
    street.pass_time(0.1)
    street.kernel.send(one, signal.SIGQUIT)
    street.pass_time(0.0)
    street.listener.connect(1.0)
    street.pass_time(2.0)
    assert (one.status, street.books()) == (Status.RUNS, (0, 0, 1))
    street.pass_time(2.0)
    assert (one.status, one.exit) == (Status.ZOMBIE, Exit(code=0))
    assert street.books() == (1, 0, 1)


def test_one_that_is_killed_drops_what_it_has_in_hand_and_nothing_that_waits(street: Street) -> None:
    one = street.server()
    for _ in range(AT_ONCE + 2):
        street.listener.connect(1.0)
    street.pass_time(0.0)
    one.struck = True
    street.kernel.send(one, signal.SIGKILL)
    street.pass_time(1.0)
    assert street.books() == (0, AT_ONCE, 2)
    street.server()
    street.pass_time(1.0)
    assert street.books() == (2, AT_ONCE, 0)


def test_one_that_is_killed_before_its_time_is_a_broken_promise(street: Street) -> None:
    one = street.server()
    street.listener.connect(1.0)
    street.pass_time(0.0)
    street.kernel.send(one, signal.SIGKILL)
    with pytest.raises(Violation) as caught:
        street.pass_time(1.0)
    assert caught.value.promise is Promise.KEPT


def test_one_that_is_stopped_or_hung_leaves_what_comes_to_the_others(street: Street) -> None:
    hung, stopped, sound = street.server(), street.server(), street.server()
    hung.hang()
    street.kernel.send(stopped, signal.SIGSTOP)
    for _ in range(AT_ONCE):
        street.listener.connect(1.0)
    street.pass_time(1.0)
    assert street.books() == (AT_ONCE, 0, 0)
    assert sound.hand == []


def test_what_nobody_was_woken_for_is_found_with_the_next_beat(street: Street) -> None:
    woken, other = street.server(), street.server(period=10.0)
    street.kernel.send(other, signal.SIGSTOP)
    street.listener.connect(1.0)
    street.kernel.send(woken, signal.SIGKILL)  # before it has taken what it was woken for, with nobody else to wake
    street.pass_time(1.0)
    street.kernel.send(other, signal.SIGCONT)
    assert street.books() == (0, 0, 1)
    street.pass_time(22.0)
    assert street.books() == (1, 0, 0)


def test_a_full_queue_refuses_and_the_client_knows(street: Street) -> None:
    for _ in range(BACKLOG + 2):
        street.listener.connect(1.0)
    assert (street.listener.came, street.listener.refused) == (BACKLOG, 2)


# ── each check can fail ──
class DropsWhatItHas(Server):
    """Leaves at once when it is asked."""

    def die(self, exit_: Exit) -> None:
        Spirit.die(self, exit_)


class IsKilledWhenItIsAsked(Server):
    """Has a manager that takes the wrong signal: each order is right, and only its clients can tell."""

    def quit(self) -> None:
        if not self.struck:
            self.kernel.send(self, signal.SIGKILL)


class ListensAnew(Server):
    """Opens the socket itself instead of taking the one that its manager has."""

    def say_ready(self) -> None:
        self.listener.queue.clear()
        super().say_ready()


class ForgetsToAnswer(Server):
    def _answer(self, request: Request) -> None:
        self.hand.remove(request)


class IsReadyAndDoesNotListen(Server):
    def take(self) -> None:
        pass


BAD_SERVERS: Final[list[tuple[Promise, type[Server]]]] = [
    (Promise.KEPT, DropsWhatItHas),
    (Promise.KEPT, IsKilledWhenItIsAsked),
    (Promise.QUEUE, ListensAnew),
    (Promise.QUEUE, ForgetsToAnswer),
    (Promise.SERVED, IsReadyAndDoesNotListen),
]


@pytest.mark.parametrize(("promise", "broken"), BAD_SERVERS)
def test_a_spirit_that_loses_requests_is_found_by_what_its_clients_miss(promise: Promise, broken: type[Server]) -> None:
    mode = Mode.LIVENESS if promise is Promise.SERVED else Mode.SAFETY

    def try_worlds() -> None:
        for seed in range(1, 41):
            World(seed=seed, mode=mode, make_server=broken).run(5_000)

    with pytest.raises(Violation) as caught:
        try_worlds()
    assert caught.value.promise is promise, caught.value


def test_each_kind_of_end_of_a_request_happens_in_the_worlds() -> None:
    served = refused = dropped = 0
    for seed in range(1, 7):
        world = World(seed=seed)
        for _ in range(20):
            listener = world.nemesis.listener
            served += world.run(500).requests > 0
            refused, dropped = refused + listener.refused, dropped + listener.dropped
    assert min(served, refused, dropped) > 0
