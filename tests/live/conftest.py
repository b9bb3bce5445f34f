"""What the tests on real processes share: a stage for ghosts. Each test here is live."""

import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.harness import Stage
from tests.live.streams import Dial
from tests.live.traffic import connect


@pytest.fixture(scope="session", autouse=True)
def _no_core_files() -> None:
    """Tests end processes by SIGSEGV and SIGQUIT, which would each leave a large file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A directory in which ghosts are started; what still runs at the end is ended."""
    made = Stage(tmp_path)
    yield made
    made.close()


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Connect to an address; closed when the test ends, at the latest."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(connect(address))
