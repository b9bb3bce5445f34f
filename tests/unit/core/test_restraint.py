"""What is held back: replacements after early deaths, and forks after the kernel refused one."""

import math

from ghostd.core.policy import Policy
from ghostd.core.restraint import Restraint


def test_no_fork_is_tried_until_the_wait_is_over_and_then_one() -> None:
    restraint = Restraint(Policy())
    assert restraint.allowed(7, 1.0) == 7
    wait = restraint.fork_failed(1.0)
    assert wait is not None
    assert restraint.allowed(7, 1.0 + wait / 2) == 0
    assert restraint.allowed(7, 1.0 + wait) == 1
    assert restraint.allowed(0, 1.0 + wait) == 0
    restraint.fork_succeeded()
    assert restraint.allowed(7, 1.0) == 7


def test_failures_of_one_batch_count_once() -> None:
    restraint = Restraint(Policy())
    assert restraint.fork_failed(1.0) is not None
    assert restraint.fork_failed(1.0) is None
    assert restraint.fork_failures == 1


def test_waits_double_up_to_the_most_and_are_a_little_shorter_by_jitter() -> None:
    policy = Policy(backoff_first=0.1, backoff_most=6.0)
    restraint = Restraint(policy)
    waits = [restraint.early_death(streak, 0.0) for streak in range(1, 12)]
    assert waits[0] == 0.0
    for streak, wait in enumerate(waits[1:], 2):
        whole = min(0.1 * 2 ** (streak - 2), 6.0)
        assert 0.85 * whole <= wait <= whole


def test_a_vacancy_that_was_put_back_is_the_first_to_be_filled() -> None:
    restraint = Restraint(Policy())
    restraint.early_death(9, 1.0)
    restraint.put_back(3, 1.0)
    assert restraint.held(1.0) == 1
    assert restraint.take(1.0) == 3
    assert restraint.take(1.0) == 0


def test_a_vacancy_without_a_row_needs_no_hold() -> None:
    restraint = Restraint(Policy())
    restraint.put_back(0, 1.0)
    assert restraint.take(1.0) == 0


def test_the_deadline_is_the_first_of_all_waits() -> None:
    restraint = Restraint(Policy())
    assert restraint.deadline(0.0) == math.inf
    later = restraint.early_death(9, 0.0)
    assert restraint.deadline(0.0) == later
    sooner = restraint.early_death(3, 0.0)
    assert restraint.deadline(0.0) == sooner < later
    wait = restraint.fork_failed(0.0)
    assert wait is not None
    assert restraint.deadline(0.0) == wait < sooner
    assert restraint.deadline(wait) == sooner
    assert restraint.deadline(sooner) == later
    assert restraint.deadline(later) == math.inf


def test_forgiven_is_forgotten() -> None:
    restraint = Restraint(Policy())
    restraint.early_death(9, 0.0)
    restraint.forgive()
    assert restraint.held(0.0) == 0


def test_trimmed_are_the_longest_waits() -> None:
    restraint = Restraint(Policy())
    for streak in (2, 9, 5):
        restraint.early_death(streak, 0.0)
    restraint.trim(2)
    assert (restraint.take(100.0), restraint.take(100.0), restraint.take(100.0)) == (2, 5, 0)


def test_a_trend_is_so_many_deaths_within_the_period() -> None:
    restraint = Restraint(Policy(intensity=3, intensity_period=10.0))
    for at in (0.0, 1.0):
        restraint.early_death(1, at)
    assert not restraint.is_trend(1.0)
    restraint.early_death(1, 9.0)
    assert restraint.is_trend(9.9)
    assert not restraint.is_trend(10.0)
    restraint.early_death(1, 10.5)
    assert restraint.is_trend(10.9)
    assert not restraint.is_trend(11.0)


def test_jitter_spreads_evenly_over_its_range() -> None:
    restraint = Restraint(Policy(backoff_first=1.0, backoff_most=1.0))
    parts = [(1.0 - restraint.early_death(2, 0.0)) / 0.15 for _ in range(2_000)]
    assert 0.0 <= min(parts) < 0.01
    assert 0.99 < max(parts) <= 1.0
    for tenth in range(10):
        assert 140 < sum(tenth <= part * 10 < tenth + 1 for part in parts) < 260
