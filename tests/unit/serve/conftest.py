"""What the tests of what listens share. Nobody waits here for a port that is in use."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ghostd.serve import opening
from tests.unit.serve.sockets import Log


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", 0.0)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made
