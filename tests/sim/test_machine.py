"""The same kernel, manager and checks, led by Hypothesis: slower than the worlds, but a failure is shrunk to its core.

Rule: spirits are puppets here; nothing happens but what a rule does and the time that passes.
"""

import os
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ghostd.core import events as fact
from ghostd.core.actions import Action
from ghostd.core.phases import Generation, SpiritId
from ghostd.core.policy import Policy
from ghostd.core.pool import Pool
from ghostd.exits import Exit
from ghostd.testing.kernel import FOREVER, Kernel
from ghostd.testing.manager import Manager
from ghostd.testing.promises import Promise, Violation
from ghostd.testing.spirits import Habits, Spirit

if TYPE_CHECKING:
    from ghostd.core.events import Event

PUPPET: Final = Habits(boot=FOREVER, finish=FOREVER)
STEPS_MOST: Final = 20_000  # within one rule; more is a pool that turns without end

policies = some.builds(
    Policy,
    spirits=some.integers(0, 4),
    spare=some.integers(0, 2),
    heartbeat_interval=some.just(1.0),
    heartbeat_timeout=some.sampled_from([1.0, 9.0]),
    boot_timeout=some.sampled_from([2.0, 20.0]),
    graceful_timeout=some.sampled_from([0.0, 3.0, 30.0]),
    silent_timeout=some.sampled_from([0.0, 2.0]),
    kill_timeout=some.sampled_from([0.0, 1.0, 5.0]),
    young=some.sampled_from([0.0, 1.0]),
    give_up_after=some.sampled_from([0.0, 0.0, 4.0]),
    max_lifetime=some.sampled_from([0.0, 0.0, 8.0]),
    drain_delay=some.sampled_from([0.0, 0.0, 2.0]),
)
durations = some.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 40.0])
anybody = some.integers(0, 7)
exits = some.sampled_from([Exit(code=0), Exit(code=1), Exit(signal=11, dumped_core=True)])


def alive(machine: "Machine") -> bool:
    return machine.manager.halted is None


class Machine(RuleBasedStateMachine):
    """One pool after the other."""

    make_pool: Callable[[Policy, float], Pool] = Pool

    @initialize(policy=policies, uptime=some.sampled_from([0.0, 1e6]))
    def begin(self, policy: Policy, uptime: float) -> None:
        self.kernel = Kernel(uptime)
        self.manager = Manager(policy, self.kernel, Random(0), type(self).make_pool)
        self.manager.make_spirit = self._make_spirit
        self._advance(0.001)

    @precondition(lambda machine: not alive(machine))
    @rule(policy=policies)
    def another_one_is_started(self, policy: Policy) -> None:
        self.begin(policy, self.kernel.now)

    def _make_spirit(self, spirit: SpiritId, generation: Generation) -> Spirit:
        return Spirit(spirit, PUPPET, self.kernel, self.manager.random, self.manager.ring)

    def _advance(self, seconds: float) -> None:
        kernel, manager = self.kernel, self.manager
        until = kernel.now + seconds
        for _ in range(STEPS_MOST):
            if manager.halted is not None or min(kernel.next_at, manager.wake_at) > until:
                break
            if kernel.next_at <= manager.wake_at:
                kernel.step()
            else:
                kernel.now = manager.wake_at
                manager.turn()
        else:
            pytest.fail(f"more than {STEPS_MOST} steps within {seconds} s")
        kernel.now = max(kernel.now, until)

    def _spirit(self, number: int) -> Spirit | None:
        spirits = [one for one in self.manager.spirits.values() if one.exists]
        return spirits[number % len(spirits)] if spirits else None

    def _do(self, number: int, what: Callable[[Spirit], None]) -> None:
        spirit = self._spirit(number)
        if spirit is not None:
            self.kernel.after(0.0, lambda: what(spirit), spirit)
            self._advance(0.001)

    # ── time ──
    @precondition(alive)
    @rule(seconds=durations)
    def time_passes(self, seconds: float) -> None:
        self._advance(seconds)

    @precondition(alive)
    @rule(seconds=durations, all_of_it=some.booleans(), tells=some.booleans())
    def it_stands_still(self, seconds: float, all_of_it: bool, tells: bool) -> None:
        self.manager.freeze(seconds, all_of_it=all_of_it, tells=tells)

    # ── spirits ──
    @precondition(alive)
    @rule(number=anybody)
    def one_is_ready(self, number: int) -> None:
        self._do(number, Spirit.say_ready)

    @precondition(alive)
    @rule()
    def all_are_ready(self) -> None:
        for number in range(8):
            self._do(number, Spirit.say_ready)

    @precondition(alive)
    @rule()
    def all_beat(self) -> None:
        for number in range(8):
            self._do(number, Spirit.say_alive)

    @precondition(alive)
    @rule(number=anybody, seconds=durations)
    def one_is_busy(self, number: int, seconds: float) -> None:
        self._do(number, lambda spirit: spirit.say_busy(seconds))

    @precondition(alive)
    @rule(number=anybody)
    def one_is_worn(self, number: int) -> None:
        self._do(number, Spirit.say_worn)

    @precondition(alive)
    @rule(number=anybody)
    def one_leaves(self, number: int) -> None:
        self._do(number, Spirit.say_leaving)

    @precondition(alive)
    @rule(number=anybody, exit_=exits)
    def one_dies(self, number: int, exit_: Exit) -> None:
        self._do(number, lambda spirit: spirit.die(exit_))

    @precondition(alive)
    @rule()
    def all_that_were_asked_obey(self) -> None:
        for spirit in list(self.manager.spirits.values()):
            if spirit.asked:
                self.kernel.after(0.0, lambda one=spirit: one.die(Exit(code=0)), spirit)  # type: ignore[misc]
        self._advance(0.001)

    @precondition(alive)
    @rule(number=anybody, seconds=some.sampled_from([0.2, 2.0, 20.0, FOREVER]))
    def one_waits_for_a_disk(self, number: int, seconds: float) -> None:
        spirit = self._spirit(number)
        if spirit is not None:
            spirit.deaf_until = self.kernel.now + seconds

    # ── the kernel and the operator ──
    @precondition(alive)
    @rule(number=some.integers(1, 3))
    def forks_are_refused(self, number: int) -> None:
        self.kernel.fork_refusals = number

    @precondition(alive)
    @rule(graceful=some.booleans())
    def a_stop_is_asked_for(self, graceful: bool) -> None:
        self.manager.command(fact.StopAsked(graceful, self.kernel.now))
        self._advance(0.001)

    @precondition(alive)
    @rule()
    def a_reload_is_asked_for(self) -> None:
        self.manager.command(fact.ReloadAsked(self.kernel.now))
        self._advance(0.001)

    @precondition(alive)
    @rule(by=some.integers(-2, 2))
    def another_number_is_asked_for(self, by: int) -> None:
        self.manager.command(fact.ScaleAsked(self.kernel.now, by=by))
        self._advance(0.001)

    def teardown(self) -> None:
        """Whatever was done to it: a stop ends it."""
        if hasattr(self, "manager") and self.manager.halted is None:
            self._advance(41.0)  # the longest freeze is over
            self.manager.command(fact.StopAsked(graceful=False, at=self.kernel.now))
            self._advance(3.0)
            assert self.manager.halted is not None, "a stop at once took more than three seconds"


class KillsTwice(Pool):
    """Breaks the promise of the ladder."""

    def handle(self, events: "list[Event] | tuple[Event, ...]", now: float) -> list[Action]:  # type: ignore[override]
        orders = super().handle(events, now)
        return orders + [order for order in orders if type(order).__name__ == "Kill"]


class BrokenMachine(Machine):
    make_pool = KillsTwice


FRESH: Final = "GHOSTD_FRESH" in os.environ
SETTINGS: Final = settings(
    max_examples=2_500 if FRESH else 300,
    stateful_step_count=40,
    derandomize=not FRESH,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_pool_that_is_scaled_to_nobody_just_when_a_replacement_must_wait_has_nothing_to_give_up() -> None:
    machine = Machine()
    machine.begin(policy=Policy(spirits=1, give_up_after=3.0, boot_timeout=20.0), uptime=0.0)
    machine.all_are_ready()
    machine.one_dies(0, Exit(code=1))
    machine.manager.command(fact.ScaleAsked(machine.kernel.now, to=0))
    machine.one_dies(0, Exit(code=1))
    machine.time_passes(40.0)
    machine.manager.wake()
    machine.time_passes(0.1)
    assert machine.manager.halted is None
    machine.teardown()


def test_a_manager_that_stands_still_when_it_gives_up_ends_in_time_all_the_same() -> None:
    machine = Machine()
    policy = Policy(spirits=1, give_up_after=1.0, backoff_first=0.9, backoff_most=0.9, silent_timeout=0.0)
    machine.begin(policy=policy, uptime=0.0)
    machine.all_are_ready()
    machine.one_dies(0, Exit(code=1))
    machine.one_dies(0, Exit(code=1))
    machine.it_stands_still(2.0, all_of_it=False, tells=False)  # past the wait, and past its patience
    machine.manager.weather.stall, machine.manager.weather.stall_most = 1.0, 20.0
    machine.time_passes(60.0)
    assert machine.manager.halted is not None


@pytest.mark.timeout(300)
def test_no_history_that_hypothesis_thinks_of_breaks_a_promise() -> None:
    run_state_machine_as_test(Machine, settings=SETTINGS)


@pytest.mark.timeout(300)
def test_a_broken_promise_is_found_and_shrunk_to_a_short_history() -> None:
    with pytest.raises(Violation) as caught:
        run_state_machine_as_test(BrokenMachine, settings=SETTINGS)
    assert caught.value.promise is Promise.LADDER
    told = [note for note in getattr(caught.value, "__notes__", []) if "state." in note]
    assert 0 < len(told) <= 8
