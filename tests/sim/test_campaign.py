"""Many worlds from the command line: one line for a success, and all that is needed to have a failure again."""

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

import pytest

from ghostd.core.actions import Action, Kill
from ghostd.core.events import Event
from ghostd.core.pool import Pool
from ghostd.testing import campaign
from ghostd.testing.world import World


class KillsTwice(Pool):
    def handle(self, events: Sequence[Event], now: float) -> list[Action]:
        orders = super().handle(events, now)
        return orders + [order for order in orders if isinstance(order, Kill)]


def test_a_success_is_one_line_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign.main(["--seeds", "1-3", "--steps", "2000", "--mode", "both"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"6 worlds, 0 failures; 12,000 steps in .* s \(.* steps/s\), .* batches, .* lives .*, .* simulated years", line
    )


def test_a_failure_is_one_line_with_seed_step_and_promise_and_then_the_last_events(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "World", partial(World, make_pool=KillsTwice))
    assert campaign.main(["--seeds", "1-50", "--steps", "5000"]) == 1
    first, *events, last = capsys.readouterr().out.splitlines()
    told = re.match(r"FAILED (?:commit \w+, )?seed (\d+), step (\d+), safety: LADDER: each step against", first)
    assert told is not None, first
    assert 1 <= len(events) <= 20
    assert all(re.match(r"  \d+\.\d{6} \w", event) for event in events)
    assert "1 failures" in last

    seed, step = told.groups()
    assert campaign.main(["--seed", seed, "--steps", str(int(step) - 1)]) == 0, "the step before the failure is fine"
    capsys.readouterr()
    assert campaign.main(["--seed", seed, "--steps", step]) == 1
    assert capsys.readouterr().out.splitlines()[:-1] == [first, *events]


def test_after_so_many_failures_it_stops(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "World", partial(World, make_pool=KillsTwice))
    assert campaign.main(["--seeds", "1-50", "--steps", "5000", "--failures", "2"]) == 1
    assert capsys.readouterr().out.count("FAILED") == 2


def test_several_processes_do_the_same() -> None:
    def figures(jobs: int) -> str:
        command = [sys.executable, "-m", "ghostd.testing.world", "--seeds", "1-4", "--steps", "1000"]
        done = subprocess.run([*command, "--jobs", str(jobs)], capture_output=True, text=True, check=True, timeout=60)
        return re.sub(r"in .*? steps/s\)", "", done.stdout)

    assert figures(1) == figures(2)
