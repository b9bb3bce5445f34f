"""A few small worlds in this process: the tests of the virtual world that are quick enough to try many mutants on."""

import pytest

from ghostd.testing.world import Mode, World


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_short_time_of_trouble_breaks_no_promise(seed: int, mode: Mode) -> None:
    World(seed=seed, mode=mode).run(5_000)
