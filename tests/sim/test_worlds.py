"""The pool against a virtual world: fixed seeds on every run, fresh ones on demand."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import pytest

from ghostd.testing.campaign import run_one
from ghostd.testing.world import Mode, Report, World

STEPS: Final = 62_500  # of a world; sixteen worlds are a million steps
SEEDS: Final = range(1, 9)
FRESH_SECONDS: Final = 60.0


@pytest.mark.timeout(300)
def test_a_million_steps_of_trouble_break_no_promise() -> None:
    tasks = [(seed, STEPS, mode) for seed in SEEDS for mode in Mode]
    with ProcessPoolExecutor(2) as processes:
        reports = list(processes.map(run_one, tasks))
    failures = [report for report in reports if not isinstance(report, Report)]
    assert not failures, failures[0]
    total = Report()
    for report in reports:
        assert isinstance(report, Report)
        total.add(report)
    assert total.steps >= 1_000_000
    assert {"OK", "BOOT_FAILED"} <= set(total.codes), "the worlds are too kind: no pool ended in these ways"


def test_the_same_seed_is_the_same_history() -> None:
    def history(seed: int) -> list[object]:
        world = World(seed=seed)
        world.run(5_000)
        return [*world.manager.history]

    assert history(3) == history(3)
    assert history(3) != history(4)


@pytest.mark.skipif("GHOSTD_FRESH" not in os.environ, reason="fresh seeds only when asked for with GHOSTD_FRESH=1")
@pytest.mark.timeout(180)
def test_a_minute_of_fresh_seeds_breaks_no_promise() -> None:
    seed = time.time_ns()
    until = time.monotonic() + FRESH_SECONDS
    while time.monotonic() < until:
        seed += 1
        outcome = run_one((seed, 20_000, Mode.SAFETY if seed % 2 else Mode.LIVENESS))
        assert isinstance(outcome, Report), outcome
