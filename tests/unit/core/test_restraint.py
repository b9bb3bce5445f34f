"""What is held back: replacements after early deaths, and forks after the kernel refused one."""

from ghostd.core.policy import Policy
from ghostd.core.restraint import Restraint


def test_no_fork_is_tried_until_the_wait_is_over_and_then_one() -> None:
    restraint = Restraint(Policy())
    assert restraint.forks_allowed(1.0) is None
    wait = restraint.fork_failed(1.0)
    assert wait is not None
    assert restraint.forks_allowed(1.0 + wait / 2) == 0
    assert restraint.forks_allowed(1.0 + wait) == 1
    restraint.fork_succeeded()
    assert restraint.forks_allowed(1.0) is None


def test_failures_of_one_batch_count_once() -> None:
    restraint = Restraint(Policy())
    assert restraint.fork_failed(1.0) is not None
    assert restraint.fork_failed(1.0) is None
    assert restraint.fork_failures == 1


def test_waits_double_up_to_the_most_and_are_a_little_shorter_by_jitter() -> None:
    policy = Policy(backoff_first=0.1, backoff_most=6.0)
    restraint = Restraint(policy)
    waits = [restraint.early_death(streak, 0.0).until for streak in range(1, 12)]
    assert waits[0] == 0.0
    for streak, wait in enumerate(waits[1:], 2):
        whole = min(0.1 * 2 ** (streak - 2), 6.0)
        assert 0.85 * whole <= wait <= whole
