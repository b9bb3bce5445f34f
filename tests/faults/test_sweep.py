"""A slice of the sweep over all faults of all calls, another one with each commit; `make sweep` plays them all.

Rule: the slice is drawn from a seed that is shown, so that what broke can be played again.
"""

from typing import Final

import pytest

from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import sweep
from tests.support import needs_root, needs_tool, seed_of_commit

pytestmark = [pytest.mark.live, needs_tool("strace"), needs_root]

SLICE: Final = 6  # faults of each scenario


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_failing_call_leaves_a_whole_pool_or_an_honest_end(scenario: str) -> None:
    seed = seed_of_commit()
    broken = [wrong for _, wrong in sweep([scenario], seed=seed, most=SLICE) if wrong]
    assert not broken, f"seed {seed}:\n" + "\n".join(broken)
