"""What the tests of what listens share."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.unit.serve.sockets import Log


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def log() -> Log:
    return Log()
