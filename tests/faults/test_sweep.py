"""A slice of the sweep over all faults of all calls, another one with each commit; `make sweep` plays them all.

Rule: the slice is drawn from a seed that is shown, so that what broke can be played again.
"""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import sweep
from tests.support import needs_root, needs_tool

pytestmark = [pytest.mark.live, needs_tool("strace"), needs_root]

ROOT: Final = Path(__file__).parents[2]
SLICE: Final = 6  # faults of each scenario


def seed_of_commit() -> int:
    """A number that changes with each commit; 1 where there is no history."""
    words = ["git", "rev-parse", "--short=8", "HEAD"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return 1
    return int(done.stdout, 16) if done.returncode == 0 else 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_failing_call_leaves_a_whole_pool_or_an_honest_end(scenario: str) -> None:
    seed = seed_of_commit()
    broken = [wrong for _, wrong in sweep([scenario], seed=seed, most=SLICE) if wrong]
    assert not broken, f"seed {seed}:\n" + "\n".join(broken)
